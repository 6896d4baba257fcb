package graphcache_test

import (
	"fmt"
	"testing"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// TestHazardPageNewcomers: a page whose results vanish is filled up from further searches,
// and what has come to the head of the results meanwhile is not for this page, nor may it
// move the page's end back: what has not moved is returned once.
func TestHazardPageNewcomers(t *testing.T) {
	for _, ordered := range []bool{true, false} {
		t.Run(fmt.Sprint("ordered ", ordered), func(t *testing.T) {
			ctx, writer := t.Context(), shopNew(t)
			reader := shopAnother(t, writer)
			put := func(ranks ...int) {
				for _, n := range ranks {
					id := shopItemID(fmt.Sprintf("i%02d", n))
					fixtureMust(t, shopItems.Put(ctx, writer, &shopItem{ID: id, Stock: 1, Sold: n}))
				}
			}
			put(10, 20, 30, 40, 50)
			q := shopItems.Where(itemStock.Eq(1)).Limit(2).Fresh()
			if ordered {
				q = q.OrderBy(itemSold.Asc())
			}

			finds, gets := 0, 0
			reader.on(func(c fixtureCall) backendtest.Fault {
				steps, _ := c.Batch.([]driver.Step)
				switch {
				case len(steps) == 0:
				case steps[0].Op == driver.GetObjects:
					if gets++; gets == 1 { // the page has been found, and is to be loaded
						fixtureMust(t, shopItems.Delete(ctx, writer, "i20"))
						fixtureMust(t, shopItems.Delete(ctx, writer, "i30"))
					}
				case steps[0].Op == driver.FindObjects:
					switch finds++; finds {
					case 2:
						put(1, 2, 3, 4)
					case 3:
						put(5)
					}
				}
				return backendtest.Fault{}
			})
			count, cursor := map[graphcache.ID[shopItem]]int{}, ""
			for {
				page, next, err := q.Page(ctx, reader, cursor)
				fixtureMust(t, err)
				for _, i := range page {
					count[i.ID]++
				}
				if cursor = next; cursor == "" {
					break
				}
			}
			for _, id := range []shopItemID{"i10", "i40", "i50"} {
				if count[id] != 1 {
					t.Errorf("%s has not moved and was returned %d times: %v", id, count[id], count)
				}
			}
			if finds < 3 {
				t.Errorf("the store was searched %d times, so nothing was filled up", finds)
			}
		})
	}
}
