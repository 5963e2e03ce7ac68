package ocimport

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"sextant/pkg/dataset"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// Digest stands in the place of an imported record's digest: what was asked is not known well enough for one, so that no other run
// takes the record for its own.
const Digest = "imported"

// Matched is what a dataset's rows got of entries.
type Matched struct {
	Records []result.Record // ascending rows
	Lost    map[string]int  // rows without one, by reason
}

// row is one of ours.
type row struct {
	item  *dataset.Item
	words map[string]bool // of its prompt without examples, but for those that every row has
}

// Match gives rows their entries. Entry i is of row i, where its text and gold answer do not say otherwise; where there are fewer entries
// than rows, as of a dataset that OpenCompass leaves rows out of, it is of the one row that it fits, not before i nor after as many as are left out.
func Match(d spec.Dataset, set *dataset.Set, entries []Entry) (Matched, error) {
	m := Matched{Lost: map[string]int{}}
	if d.Mode == spec.Rolling || d.Mode == spec.CLP || set.Samples() > 1 {
		return m, fmt.Errorf("dataset %s: predictions of mode %s with %d samples a row are not imported: OpenCompass keeps too little of them; run it here",
			d.Abbr, d.Mode, set.Samples())
	}
	rows, err := rowsOf(set)
	if err != nil {
		return m, err
	}
	given := assign(rows, entries)
	for i := range rows {
		if given[i] == nil {
			m.Lost["no prediction is surely of the row"]++
			continue
		}
		rec, why := record(d, rows[i].item, given[i])
		if why != "" {
			m.Lost[why]++
			continue
		}
		m.Records = append(m.Records, rec)
	}
	return m, nil
}

func rowsOf(set *dataset.Set) ([]row, error) {
	rows := make([]row, set.Len())
	seen := map[string]int{}
	for i := range rows {
		it, err := set.Item(i, nil)
		if err != nil {
			return nil, err
		}
		rows[i] = row{it, map[string]bool{}}
		for _, p := range it.Prompts(0) {
			eachWord(p.Text+"\n"+strings.Join(p.Continuations, "\n"), func(w string) {
				if !rows[i].words[w] {
					rows[i].words[w] = true
					seen[w]++
				}
			})
		}
	}
	if len(rows) > 1 {
		for _, r := range rows {
			for w := range r.words {
				if seen[w] == len(rows) {
					delete(r.words, w)
				}
			}
		}
	}
	return rows, nil
}

// assign finds for each row its entry, or nil.
func assign(rows []row, entries []Entry) []*Entry {
	given := make([]*Entry, len(rows))
	left := max(0, len(rows)-len(entries))
	straight := true
	for i := range min(len(rows), len(entries)) {
		if ok, _ := rows[i].fits(&entries[i], wordsOf(&entries[i]), left == 0); ok {
			given[i] = &entries[i]
		} else if entries[i].There {
			straight = false
		}
	}
	if left == 0 || straight {
		return given
	}
	clear(given)
	from := 0
	for i := range entries {
		at, found, has := -1, 0, wordsOf(&entries[i])
		for j := max(i, from); j <= i+left && j < len(rows); j++ {
			if ok, sure := rows[j].fits(&entries[i], has, false); ok && sure {
				at, found = j, found+1
			}
		}
		if found == 1 {
			given[at], from = &entries[i], at+1
		}
	}
	return given
}

// fits says whether an entry may be of the row. Sure: its text holds all words that set the row apart. Without any text the gold answer has
// to be the row's, and the entry's number to mean it.
func (r *row) fits(e *Entry, has map[string]bool, byNumber bool) (ok, sure bool) {
	if !e.There {
		return false, false
	}
	labels := r.item.Labels
	goldKnown := e.Gold != "" && (len(labels) == 0 || slices.Contains(labels, e.Gold))
	goldSame := goldKnown && slices.Contains(r.item.Gold, e.Gold)
	if len(labels) > 0 && goldKnown && !goldSame {
		return false, false
	}
	if e.Prompt == "" {
		return byNumber && goldSame, false
	}
	for w := range r.words {
		if !has[w] {
			return false, false
		}
	}
	return true, len(r.words) > 0
}

func wordsOf(e *Entry) map[string]bool {
	has := map[string]bool{}
	eachWord(e.Prompt, func(w string) { has[w] = true })
	return has
}

// eachWord gives the words of a text in lower case; of scripts without spaces, each letter.
func eachWord(text string, word func(string)) {
	start := -1
	for i, c := range text {
		alone := unicode.In(c, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai)
		in := (unicode.IsLetter(c) || unicode.IsDigit(c)) && !alone
		if in && start < 0 {
			start = i
		}
		if !in && start >= 0 {
			word(strings.ToLower(text[start:i]))
			start = -1
		}
		if alone {
			word(string(c))
		}
	}
	if start >= 0 {
		word(strings.ToLower(text[start:]))
	}
}

// record makes a row's record of its entry, or says why not. The gold answers are ours: metrics and post_gold are made for them.
func record(d spec.Dataset, it *dataset.Item, e *Entry) (result.Record, string) {
	rec := result.Record{Row: it.Row, Digest: Digest, Gold: it.Gold}
	if e.Fault != "" {
		return rec, e.Fault
	}
	if d.Mode == spec.Gen {
		if e.Text == nil || len(e.Labels) > 0 {
			return rec, "its prediction is no generated text"
		}
		rec.Text = *e.Text
		return rec, ""
	}
	if len(e.Labels) == 0 {
		return rec, "its prediction ranks no labels"
	}
	if len(e.Labels) != len(it.Labels) {
		return rec, fmt.Sprintf("its labels are %s, the row's %s", strings.Join(e.Labels, " "), strings.Join(it.Labels, " "))
	}
	rec.Labels, rec.Chars, rec.Size = it.Labels, it.Chars, it.Bytes
	for _, label := range it.Labels {
		i := slices.Index(e.Labels, label)
		if i < 0 {
			return rec, fmt.Sprintf("its labels are %s, the row's %s", strings.Join(e.Labels, " "), strings.Join(it.Labels, " "))
		}
		v := loss(d, e.Values[i])
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return rec, fmt.Sprintf("a label has no finite value of mode %s", d.Mode)
		}
		rec.NLL, rec.Tokens = append(rec.NLL, v), append(rec.Tokens, 1)
		if d.Mode == spec.PPL && d.PPL.Normalizing != "" {
			rec.NormNLL = append(rec.NormNLL, 0)
		}
	}
	return rec, ""
}

// loss is an NLL of one token that is scored as the value is: OpenCompass keeps the mean, already divided by its number of tokens, which it
// does not keep. With the denominator "n" a scorer divides by one more than the tokens.
func loss(d spec.Dataset, v Value) float64 {
	switch {
	case d.Mode == spec.LL:
		return -v.LogLikelihood
	case d.PPL.Normalizing == "" && d.PPL.Denominator != "n-1":
		return 2 * v.PPL
	}
	return v.PPL
}
