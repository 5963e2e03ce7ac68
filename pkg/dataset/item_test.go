package dataset

import (
	"fmt"
	"testing"
)

// TestOptionsAreMeasured: of mode ll alone, in characters and in bytes, as the row has them.
func TestOptionsAreMeasured(t *testing.T) {
	const rows = `{"q":"x","o":["né e","日本",""],"a":1}` + "\n"
	for mode, want := range map[string]string{"ll": "[4 2 0] [5 6 0]", "clp": "[] []"} {
		it := item(t, open(t, entry(t, "mode = '"+mode+"'\nanswer = 'a'\nprompt = { context = '{q}', choices = 'o' }", rows, "")), 0, nil)
		if got := fmt.Sprint(it.Chars, it.Bytes); got != want {
			t.Errorf("mode %s: %s, want %s", mode, got, want)
		}
	}
}

func TestCommon(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 0}, {"ab", "ac", 1}, {"ab", "ab", 2}, {"ab", "abc", 2}, {"é", "è", 0}, {"xé", "xè", 1}, {"xé", "xé!", 3}, {"a\xffb", "a\xffc", 2}} {
		if got := Common(c.a, c.b); got != c.want {
			t.Errorf("%q and %q have %d bytes in common, want %d", c.a, c.b, got, c.want)
		}
		if got := Common(c.b, c.a); got != c.want {
			t.Errorf("%q and %q have %d bytes in common, want %d", c.b, c.a, got, c.want)
		}
	}
}
