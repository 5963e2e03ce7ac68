package report

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Progress shows how far a run is. On a terminal it keeps one line, a bar, at the bottom; elsewhere it writes a plain line for each task
// that ends and else at most one in 10 s, so that a log stays short. It is told the run's whole state each time, so that a call may be
// repeated or left out. Methods may be called from several goroutines. Errors of the writer are ignored: progress is no result.
type Progress struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	now      func() time.Time
	state    state
	ended    map[string]bool // tasks known to be done or failed
	meter    meter
	began    time.Time
	written  time.Time // last bar or plain line
	drawn    bool      // a bar stands on the terminal's last line
}

// Task is how far one task is.
type Task struct {
	Name       string
	Rows, Done int
	Failed     string // why rows of it will be missing; "" while none are
}

const (
	redrawEvery = 100 * time.Millisecond
	lineEvery   = 10 * time.Second
)

// state is what is shown.
type state struct {
	tasks, tasksDone, failed int
	rows, rowsDone           int
	rowsPerSec, tokensPerSec float64 // 0: not known yet
}

// NewProgress makes the display of one run. The first Update starts it.
func NewProgress(w io.Writer, isTerminal bool) *Progress {
	return &Progress{w: w, terminal: isTerminal, now: time.Now}
}

// Update tells the state of every task, and how many tokens the run's workers have computed; that number may fall when a worker ends.
// What the first call finds done is taken as done before: it has no line of its own and no part in the speed. No tasks tell nothing.
func (p *Progress) Update(tasks []Task, tokens int64) {
	if len(tasks) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.ended == nil
	if first {
		p.began, p.ended = p.now(), map[string]bool{}
	}
	p.state.tasks, p.state.tasksDone, p.state.failed, p.state.rows, p.state.rowsDone = len(tasks), 0, 0, 0, 0
	var events []string
	for _, t := range tasks {
		p.state.rows += t.Rows
		p.state.rowsDone += t.Done
		event := "done " + t.Name
		switch {
		case t.Failed != "":
			p.state.failed++
			event = "FAILED " + t.Name + ": " + t.Failed
		case t.Done >= t.Rows:
			p.state.tasksDone++
		default:
			continue
		}
		if !p.ended[t.Name] {
			p.ended[t.Name] = true
			events = append(events, event)
		}
	}
	p.meter.add(p.now(), p.state.rowsDone, tokens)
	p.state.rowsPerSec, p.state.tokensPerSec = p.meter.rates()
	if !first {
		p.tell(events)
	}
	if !first || p.state.rowsDone < p.state.rows { // else the last line, which follows, says it all
		p.show(first)
	}
}

// Say writes a line of the run's own, such as a retry.
func (p *Progress) Say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	fmt.Fprintln(p.w, clean(line))
	if p.terminal && p.ended != nil {
		p.show(true)
	}
}

// End takes the bar away and writes the last line. Nothing may be told afterwards.
func (p *Progress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended == nil {
		return // there never was anything to show
	}
	p.erase()
	fmt.Fprintf(p.w, "%s in %s\n", p.state.counts(), round(p.now().Sub(p.began)))
}

// tell writes a line a task that ended. Off a terminal the last carries the counts and stands for the line in 10 s.
func (p *Progress) tell(events []string) {
	for i, e := range events {
		p.erase()
		line := clean(e)
		if !p.terminal && i == len(events)-1 {
			line += " (" + p.state.plain() + ")"
			p.written = p.now()
		}
		fmt.Fprintln(p.w, line)
	}
	if p.terminal && len(events) > 0 {
		p.written = time.Time{} // the bar is drawn again at once
	}
}

// show draws the bar, or writes a plain line, when it is time or at once.
func (p *Progress) show(force bool) {
	every := lineEvery
	if p.terminal {
		every = redrawEvery
	}
	now := p.now()
	if !force && now.Sub(p.written) < every {
		return
	}
	p.written = now
	if !p.terminal {
		fmt.Fprintln(p.w, p.state.plain())
		return
	}
	columns, _ := widthOf(p.w)
	fmt.Fprint(p.w, "\r"+p.state.bar(columns-1)+"\x1b[K") // a line of all columns would wrap
	p.drawn = true
}

func (p *Progress) erase() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

// plain is the state in words.
func (s state) plain() string {
	return strings.Join(append([]string{s.counts()}, s.speed()...), ", ")
}

func (s state) counts() string {
	text := fmt.Sprintf("%d/%d tasks, %d/%d rows", s.tasksDone, s.tasks, s.rowsDone, s.rows)
	if s.failed > 0 {
		text += fmt.Sprintf(", %d failed", s.failed)
	}
	return text
}

func (s state) speed() []string {
	var parts []string
	if s.rowsPerSec > 0 {
		parts = append(parts, rate(s.rowsPerSec)+" rows/s")
	}
	if s.tokensPerSec > 0 {
		parts = append(parts, rate(s.tokensPerSec)+" tokens/s")
	}
	if left := s.rows - s.rowsDone; left > 0 && s.rowsPerSec > 0 {
		if seconds := float64(left) / s.rowsPerSec; seconds < 1e8 {
			parts = append(parts, "ETA "+round(time.Duration(seconds*float64(time.Second))))
		}
	}
	return parts
}

// bar is the state in one line of at most so many columns: a bar of what room the words leave, then the words, cut if they must be.
func (s state) bar(columns int) string {
	share := 1.0
	if s.rows > 0 {
		share = min(1, max(0, float64(s.rowsDone)/float64(s.rows)))
	}
	words := fmt.Sprintf("%3d%% %s", int(100*share), strings.Join(append([]string{s.counts()}, s.speed()...), ", "))
	room := min(30, columns-len(words)-3)
	if room < 4 {
		return words[:max(0, min(len(words), columns))]
	}
	full := int(share * float64(room))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", room-full) + "] " + words
}

// rate writes a speed with three digits: 0.25, 12.3, 456, 7.89k, 1.2M.
func rate(v float64) string {
	unit := ""
	for _, u := range []string{"k", "M", "G"} {
		if v < 999.5 {
			break
		}
		v, unit = v/1000, u
	}
	switch {
	case v >= 99.95:
		return fmt.Sprintf("%.0f%s", v, unit)
	case v >= 9.995:
		return fmt.Sprintf("%.1f%s", v, unit)
	}
	return fmt.Sprintf("%.2f%s", v, unit)
}

// round writes a duration with the precision its length deserves.
func round(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
		if d < time.Minute {
			return fmt.Sprintf("%ds", int(d.Seconds()))
		}
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// meter gives speeds over the last minute: what is loaded or is slow at the start is soon forgotten.
type meter struct {
	samples []sample
	told    int64 // tokens as last told
}

type sample struct {
	at     time.Time
	rows   int
	tokens int64 // ever growing
}

const (
	meterSpan = time.Minute
	meterStep = time.Second
)

// add notes counts at a moment, at most one sample a step; the newest is always kept. Fewer tokens than before are a worker's end.
func (m *meter) add(at time.Time, rows int, tokens int64) {
	now := sample{at, rows, max(0, tokens-m.told)}
	m.told = tokens
	n := len(m.samples)
	if n > 0 {
		now.tokens += m.samples[n-1].tokens
	}
	if n > 1 && at.Sub(m.samples[n-2].at) < meterStep {
		m.samples[n-1] = now
	} else {
		m.samples = append(m.samples, now)
	}
	for len(m.samples) > 2 && at.Sub(m.samples[1].at) >= meterSpan {
		m.samples = m.samples[1:]
	}
}

// rates are rows and tokens a second, 0 until there is something to tell them from.
func (m *meter) rates() (rows, tokens float64) {
	first, last := m.samples[0], m.samples[len(m.samples)-1]
	seconds := last.at.Sub(first.at).Seconds()
	if seconds < 0.5 {
		return 0, 0
	}
	return max(0, float64(last.rows-first.rows)/seconds), max(0, float64(last.tokens-first.tokens)/seconds)
}
