package jinja

import (
	"math"
	"slices"
	"strings"
)

// jsonStyle is how json.dumps writes.
type jsonStyle struct {
	indent     string
	lines      bool // each item has its own line
	item, pair string
	sorted     bool
	ascii      bool
}

// toJSON is transformers' own tojson: json.dumps with ensure_ascii=False.
func toJSON(r *run, v any, a *arguments) any {
	given := r.given("tojson", a, "ensure_ascii", "indent", "separators", "sort_keys")
	st := jsonStyle{item: ", ", pair: ": ", sorted: truth(given["sort_keys"]), ascii: truth(given["ensure_ascii"])}
	switch in := given["indent"].(type) {
	case nil:
	case string:
		st.indent, st.lines, st.item = in, true, ","
	default:
		n := max(r.integer("tojson", in), 0)
		r.spend(n)
		st.indent, st.lines, st.item = strings.Repeat(" ", n), true, ","
	}
	if sep, ok := given["separators"].(*List); ok && len(sep.Items) == 2 {
		st.item, st.pair = r.str("tojson", sep.Items[0]), r.str("tojson", sep.Items[1])
	} else if given["separators"] != nil {
		r.fail("tojson wants two separators")
	}
	var b strings.Builder
	r.json(&b, v, st, "")
	return b.String()
}

func (r *run) json(b *strings.Builder, v any, st jsonStyle, indent string) {
	r.enter(r.line)
	r.spend(len(indent))
	switch x := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(map[bool]string{true: "true", false: "false"}[x])
	case int:
		r.repr(b, x, 0)
	case float64:
		switch {
		case math.IsNaN(x):
			b.WriteString("NaN")
		case math.IsInf(x, 0):
			b.WriteString(map[bool]string{true: "Infinity", false: "-Infinity"}[x > 0])
		default:
			b.WriteString(floatText(x))
		}
	case string:
		r.spend(2 * len(x))
		jsonString(b, x, st.ascii)
	case *List:
		if x.view {
			r.fail("a view of a list is not JSON serializable: use |list before tojson")
		}
		r.jsonItems(b, "[]", len(x.Items), st, indent, func(i int, inner string) { r.json(b, x.Items[i], st, inner) })
	case *Dict:
		r.jsonDict(b, x, st, indent)
	default:
		r.fail("a value of the type %s is not JSON serializable", typeName(v))
	}
	r.depth--
}

func (r *run) jsonDict(b *strings.Builder, d *Dict, st jsonStyle, indent string) {
	var keys []string
	for _, k := range d.keys {
		s, ok := k.(string)
		if !ok {
			r.fail("tojson of a mapping with other keys than texts is not supported")
		}
		keys = append(keys, s)
	}
	if st.sorted {
		slices.Sort(keys)
	}
	r.jsonItems(b, "{}", len(keys), st, indent, func(i int, inner string) {
		jsonString(b, keys[i], st.ascii)
		b.WriteString(st.pair)
		val, _ := d.get(keys[i])
		r.json(b, val, st, inner)
	})
}

// jsonItems writes n items between brackets.
func (r *run) jsonItems(b *strings.Builder, brackets string, n int, st jsonStyle, indent string, write func(i int, inner string)) {
	b.WriteByte(brackets[0])
	inner := indent
	if st.lines {
		inner += st.indent
	}
	for i := range n {
		if i > 0 {
			b.WriteString(st.item)
		}
		if st.lines {
			b.WriteString("\n" + inner)
		}
		write(i, inner)
	}
	if st.lines && n > 0 {
		b.WriteString("\n" + indent)
	}
	b.WriteByte(brackets[1])
}

var jsonEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\f': `\f`, '\b': `\b`}

func jsonString(b *strings.Builder, s string, ascii bool) {
	b.WriteByte('"')
	for _, c := range s {
		switch esc := jsonEscapes[c]; {
		case esc != "":
			b.WriteString(esc)
		case c < ' ' || ascii && c >= 0x7f && c < 0x10000 && c != 0x7f:
			b.WriteString(`\u` + hex(c, 4))
		case ascii && c >= 0x10000:
			c -= 0x10000
			b.WriteString(`\u` + hex(0xd800+c>>10, 4) + `\u` + hex(0xdc00+c&0x3ff, 4))
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
}
