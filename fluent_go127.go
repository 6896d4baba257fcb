//go:build go1.27

package graphcache

// From Go 1.27 on methods may have type parameters, and a query can be written in the
// order in which it is followed:
//
//	Follows.Out(id).Out(Wrote)   is   Wrote.Out(Follows.Out(id))

// Out returns the query that goes on from this one along the edges of the kind: k.Out(q).
func (q Query[T, E]) Out[B, D any](k *EdgeKind[T, B, D]) Query[B, Edge[T, B, D]] {
	return k.Out(q)
}

// In returns the query that goes on from this one to where the edges of the kind come
// from: k.In(q).
func (q Query[T, E]) In[A, D any](k *EdgeKind[A, T, D]) Query[A, Edge[A, T, D]] {
	return k.In(q)
}

// Out returns the query that starts from the object along the edges of the kind:
// k.Out(id).
func (id ID[T]) Out[B, D any](k *EdgeKind[T, B, D]) Query[B, Edge[T, B, D]] { return k.Out(id) }

// In returns the query that starts from the object to where the edges of the kind come
// from: k.In(id).
func (id ID[T]) In[A, D any](k *EdgeKind[A, T, D]) Query[A, Edge[A, T, D]] { return k.In(id) }

// Out is the same for several objects.
func (ids IDs[T]) Out[B, D any](k *EdgeKind[T, B, D]) Query[B, Edge[T, B, D]] { return k.Out(ids) }

// In is the same for several objects.
func (ids IDs[T]) In[A, D any](k *EdgeKind[A, T, D]) Query[A, Edge[A, T, D]] { return k.In(ids) }
