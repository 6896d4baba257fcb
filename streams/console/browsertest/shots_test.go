package browsertest

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
)

var shots = flag.String("shots", "", "a directory into which pictures of the page are written")

// shopEvent is an event of a shop.
type shopEvent struct {
	Type   string         `json:"type"`
	User   string         `json:"user"`
	Amount float64        `json:"amount,omitempty"`
	Item   string         `json:"item,omitempty"`
	Page   string         `json:"page,omitempty"`
	Cart   []any          `json:"cart,omitempty"`
	Client map[string]any `json:"client,omitempty"`
}

func shop(rnd *rand.Rand) shopEvent {
	items := []string{"Kettle", "Desk lamp", "Notebook, ruled", "Garden chair", "Umbrella"}
	e := shopEvent{User: fmt.Sprint("u-", 1000+rnd.IntN(240)), Client: map[string]any{"os": "Android", "version": "14.2", "locale": "en-GB"}}
	switch n := rnd.IntN(100); {
	case n < 50:
		e.Type, e.Page = "page.viewed", []string{"/", "/sale", "/kitchen", "/account/orders"}[rnd.IntN(4)]
	case n < 70:
		e.Type, e.Item = "cart.added", items[rnd.IntN(len(items))]
	case n < 82:
		e.Type, e.Amount = "order.paid", float64(rnd.IntN(20000))/100
		e.Cart = []any{map[string]any{"item": items[rnd.IntN(len(items))], "quantity": 1 + rnd.IntN(3)}, map[string]any{"item": items[rnd.IntN(len(items))], "quantity": 1}}
	case n < 94:
		e.Type, e.Page = "search.done", "/search?q=lamp"
	case n < 98:
		e.Type, e.Item = "cart.removed", items[rnd.IntN(len(items))]
	default:
		e.Type, e.Amount = "payment.failed", float64(rnd.IntN(20000))/100
	}
	return e
}

// TestShots writes the pictures of the documentation, when it is asked to.
func TestShots(t *testing.T) {
	if *shots == "" {
		t.Skip("no -shots")
	}
	for name, before := range map[string][]step{
		"light": {media("light", "reduce")},
		"dark":  {media("dark", "reduce")},
		"phone": {media("light", "reduce"), phone},
	} {
		f, url := newFake(t)
		rnd := rand.New(rand.NewPCG(1, 2))
		f.unique = 240
		for i := range f.spark {
			f.spark[i] = int(20+14*math.Sin(float64(i)/6)) + rnd.IntN(12)
		}
		for range 4000 {
			f.append(shop(rnd))
		}
		tb := open(t, url, before...)
		tb.waitState("live")
		tb.wait(rows(50))
		f.keep(0)
		var missed []any
		for range 37 {
			missed = append(missed, shop(rnd))
		}
		f.append(missed...)
		tb.wait(`document.querySelector("#events .gap") !== null`)
		f.keep(50)
		f.append(shop(rnd), shop(rnd), shopEvent{Type: "order.paid", User: "u-1077", Amount: 84.5, Cart: []any{map[string]any{"item": "Kettle", "quantity": 2}}, Client: map[string]any{"os": "Android", "version": "14.2"}}, shop(rnd), shop(rnd))
		tb.wait(rows(55))
		tb.do(chromedp.Click(chromedp.CSS("#events > li:nth-child(3) > .head")))
		tb.wait(`document.querySelector("#events .tree") !== null`)
		shot, err := chromedp.Run(tb.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(*shots, "console-"+name+".png"), shot)
	}
}

// write writes a picture with at most 256 colours: the most frequent ones, but for those that
// hardly differ from one that is more frequent.
func write(t *testing.T, name string, shot []byte) {
	from, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	frequency := make(map[color.RGBA]int)
	bounds := from.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			frequency[color.RGBAModel.Convert(from.At(x, y)).(color.RGBA)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(frequency), func(a, b color.RGBA) int {
		return cmp.Or(frequency[b]-frequency[a], cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, c := range colors {
		near := func(p color.Color) bool {
			q := p.(color.RGBA)
			return diff(c.R, q.R)+diff(c.G, q.G)+diff(c.B, q.B) < 12
		}
		if len(palette) < 256 && !slices.ContainsFunc(palette, near) {
			palette = append(palette, c)
		}
	}
	to := image.NewPaletted(bounds, palette)
	draw.Draw(to, bounds, from, bounds.Min, draw.Src)
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, to); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func diff(a, b uint8) int { return int(max(a, b) - min(a, b)) }
