package metric

import "strings"

// Rouge is one ROUGE score: shares of 0 to 1.
type Rouge struct {
	Precision, Recall, F float64
}

func rouge(hits, predicted, target int) Rouge {
	r := Rouge{Precision: float64(hits) / float64(max(predicted, 1)), Recall: float64(hits) / float64(max(target, 1))}
	if r.Precision+r.Recall > 0 {
		r.F = 2 * r.Precision * r.Recall / (r.Precision + r.Recall)
	}
	return r
}

// RougeTokens cuts a text into words as google-research's rouge_score does: lower case, runs of a-z and 0-9, all else between; with
// stemming, words of more than three letters by Porter's algorithm as NLTK has it. A text without such letters, in Chinese say, has no
// words, and every score of it is 0.
func RougeTokens(text string, stemming bool) []string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	if stemming {
		for i, w := range words {
			if len(w) > 3 {
				words[i] = stem(w)
			}
		}
	}
	return words
}

// RougeN gives the overlap of the n-grams of a prediction and a target, counted with repetition (Lin 2004), equal to rouge_score's
// rouge1 to rouge9. The words come from RougeTokens, or from a tokeniser of a language it does not know.
func RougeN(prediction, target []string, n int) Rouge {
	if n < 1 {
		return Rouge{}
	}
	total := func(words []string) int { return max(0, len(words)-n+1) }
	counts := make(map[string]int, total(target))
	for i := range total(target) {
		counts[gram(target[i:i+n])]++
	}
	hits := 0
	for i := range total(prediction) {
		if g := gram(prediction[i : i+n]); counts[g] > 0 {
			counts[g]--
			hits++
		}
	}
	return rouge(hits, total(prediction), total(target))
}

// gram makes one key of words; no word has a space.
func gram(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words, " ")
}

// RougeL scores the longest common subsequence of the words of a prediction and a target, both whole (Lin 2004), equal to
// rouge_score's rougeL. It takes the product of their lengths in time.
func RougeL(prediction, target []string) Rouge {
	if len(prediction) == 0 || len(target) == 0 {
		return Rouge{}
	}
	row := make([]int, len(prediction)+1)
	for _, t := range target {
		diagonal := 0
		for j, p := range prediction {
			above := row[j+1]
			if t == p {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			diagonal = above
		}
	}
	return rouge(row[len(prediction)], len(prediction), len(target))
}

// RougeLsum is the summary-level ROUGE-L of section 3.2 of Lin 2004, equal to rouge_score's rougeLsum: sentences are lines, and of each
// line of the target the union of its longest common subsequences with the lines of the prediction counts, every word at most as
// often as it stands in either text.
func RougeLsum(prediction, target string, stemming bool) Rouge {
	lines := func(text string) (sentences [][]string, n int) {
		for line := range strings.SplitSeq(text, "\n") {
			words := RougeTokens(line, stemming)
			sentences = append(sentences, words)
			n += len(words)
		}
		return sentences, n
	}
	p, np := lines(prediction)
	t, nt := lines(target)
	left := [2]map[string]int{{}, {}}
	for i, text := range [][][]string{p, t} {
		for _, s := range text {
			for _, w := range s {
				left[i][w]++
			}
		}
	}
	hits := 0
	for _, sentence := range t {
		for i, in := range unionLCS(sentence, p) {
			if w := sentence[i]; in && left[0][w] > 0 && left[1][w] > 0 {
				hits++
				left[0][w]--
				left[1][w]--
			}
		}
	}
	return rouge(hits, np, nt)
}

// unionLCS marks the words of a sentence that are in a longest common subsequence with any of others. Of several subsequences of one
// pair it takes the one that rouge_score takes: read from the end, and on a tie the word of the sentence is left out first.
func unionLCS(sentence []string, others [][]string) []bool {
	in := make([]bool, len(sentence))
	for _, o := range others {
		table := make([][]int, len(sentence)+1)
		table[0] = make([]int, len(o)+1)
		for i, w := range sentence {
			table[i+1] = make([]int, len(o)+1)
			for j, v := range o {
				if w == v {
					table[i+1][j+1] = table[i][j] + 1
				} else {
					table[i+1][j+1] = max(table[i][j+1], table[i+1][j])
				}
			}
		}
		for i, j := len(sentence), len(o); i > 0 && j > 0; {
			switch {
			case sentence[i-1] == o[j-1]:
				in[i-1] = true
				i, j = i-1, j-1
			case table[i][j-1] > table[i-1][j]:
				j--
			default:
				i--
			}
		}
	}
	return in
}
