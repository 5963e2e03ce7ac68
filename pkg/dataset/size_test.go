package dataset

import (
	"slices"
	"strings"
	"testing"
)

func TestSizes(t *testing.T) {
	const rows = `{"q":"ab","notes":"not shown at all","a":"0","o":["x","yy"]}` + "\n" + ` { "notes" : 7 , "q" : "a\"{}b" , "a" : 1, "o" : [ "x" , "z" ] } ` + "\n"
	for name, c := range map[string]struct {
		toml string
		want []uint32
	}{
		"gen: not its answer": {"mode='gen'\nanswer='a'\nprompt.template='Q: {q} A: {a}'", []uint32{4, 8}},
		"choices":             {"mode='ppl'\nanswer='a'\nprompt.template='{q} {choice}'\nprompt.choices='o'", []uint32{4 + 10, 8 + 13}},
		"context":             {"mode='ll'\nanswer='a'\nprompt.context='no column'\nprompt.choices='o'", []uint32{10, 13}},
		"labels":              {"mode='ppl'\nanswer='a'\nprompt.labels={0='{q}',1='{q}!'}", []uint32{4, 8}},
		"made of others": {"mode='gen'\nanswer='a'\nprompt.template='{both}'\ncolumns={both={template='{mid} {notes}'},mid={from='q'},idle={from='o[0]'}}",
			[]uint32{4 + 18, 8 + 1}},
		"made of itself": {"mode='gen'\nanswer='a'\nprompt.template='{q}'\ncolumns={q={template='<{q}>'}}", []uint32{4, 8}},
		"nothing":        {"mode='gen'\nanswer='a'\nprompt.template='say something'", []uint32{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := open(t, entry(t, c.toml, rows, "")).Sizes(); !slices.Equal(got, c.want) {
				t.Errorf("sizes %v, want %v", got, c.want)
			}
		})
	}
}

// The size of a row grows by as many bytes as its text does, wherever the row stands.
func TestSizesOfManyRows(t *testing.T) {
	var file strings.Builder
	for i := range 3000 {
		file.WriteString(`{"q":"` + strings.Repeat("é", i%50) + `","a":"x"}` + "\n")
	}
	sizes := open(t, entry(t, "mode='gen'\nanswer='a'\nprompt.template='{q}'", file.String(), "")).Sizes()
	for i, n := range sizes {
		if want := uint32(2 + 2*(i%50)); n != want {
			t.Fatalf("row %d: size %d, want %d", i, n, want)
		}
	}
}
