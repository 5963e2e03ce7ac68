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
