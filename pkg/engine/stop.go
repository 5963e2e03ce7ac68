package engine

import "strings"

// stopper gathers generated text and finds the first stop string in it. A stop string may begin in one token's text and end in another's.
type stopper struct {
	dec     Decoder
	stops   []string
	longest int
	seen    strings.Builder
	cut     int // where the first stop string begins; -1: none
}

func newStopper(d Decoder, stops []string) *stopper {
	s := &stopper{dec: d, cut: -1}
	for _, stop := range stops {
		if stop != "" {
			s.stops = append(s.stops, stop)
			s.longest = max(s.longest, len(stop))
		}
	}
	return s
}

// append adds a token and says whether a stop string is in the text now.
func (s *stopper) append(id int32) bool {
	tail := max(0, s.seen.Len()-s.longest+1) // nothing that begins before can end in the new text
	s.seen.WriteString(s.dec.Append(id))
	s.cut = s.find(s.seen.String(), tail)
	return s.cut >= 0
}

func (s *stopper) find(text string, from int) int {
	cut := -1
	for _, stop := range s.stops {
		if at := strings.Index(text[from:], stop); at >= 0 && (cut < 0 || from+at < cut) {
			cut = from + at
		}
	}
	return cut
}

// text is what was generated, up to the stop string, and whether there is one. What the decoder held back to the end counts here.
func (s *stopper) text() (text string, stopped bool) {
	if s.cut >= 0 {
		return s.seen.String()[:s.cut], true
	}
	text = s.dec.Text()
	if cut := s.find(text, 0); cut >= 0 {
		return text[:cut], true
	}
	return text, false
}
