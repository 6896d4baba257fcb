package plan

import "github.com/tinylib/msgp/msgp"

// maxShared is how long an encoding may be whose strings share one allocation, and
// thus how many bytes a string that outlives the rest of its value keeps at most.
const maxShared = 512

func (d *decoder) string(i int, p *string) (int, error) {
	from, end, err := d.span(i)
	if err != nil {
		return 0, err
	}
	*p = d.part(from, end)
	return end, nil
}

// span returns from where to where the bytes of a string are.
func (d *decoder) span(i int) (from, end int, err error) {
	s, b, err := msgp.ReadStringZC(d.body[i:])
	if err != nil {
		return 0, 0, corrupt(err)
	}
	end = d.after(b)
	return end - len(s), end, nil
}

// part returns a part of the body as a string.
func (d *decoder) part(from, end int) string {
	if !d.shares {
		return string(d.body[from:end])
	}
	if from == end {
		return ""
	}
	if d.text == "" {
		d.text = string(d.body)
	}
	return d.text[from:end]
}

// texts counts the strings in a value of the type up to 2, which stands for many. The
// nodes that were seen are not counted again; a recursive one may have many values.
func (n *node) texts(seen map[*node]int) (count int) {
	if count, ok := seen[n]; ok {
		return count
	}
	seen[n] = 2
	switch n.form {
	case stringForm:
		count = 1
	case pointerForm:
		count = n.elem.texts(seen)
	case listForm, arrayForm:
		count = 2 * n.elem.texts(seen)
	case tableForm:
		count = 2 * n.elem.texts(seen)
		if n.keys == stringKeys {
			count = 2
		}
	}
	for i := range n.fields {
		count += n.fields[i].node.texts(seen)
	}
	seen[n] = min(count, 2)
	return seen[n]
}
