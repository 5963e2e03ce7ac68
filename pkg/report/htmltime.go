package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"sextant/scheduler"
)

// Attempt is one attempt of a job, as far as is known of it. Unknown times are zero.
type Attempt struct {
	Job                 string
	Attempt             int
	Variant             string
	GPUs                int
	Shards              []string
	Node                string
	Asked, Began, Ended time.Time
	State               scheduler.State
	Reason              string
	Rows                int   // computed by it
	Tokens              int64 // put through the model
	Load, Work          float64
}

// spanView is a line of the page's list of attempts.
type spanView struct {
	Job, Node, Began, Load, Work, Rate, End string
	Attempt, Rows                           int
	At, LoadSeconds, WorkSeconds            float64
}

// bar is a piece of a lane of the timeline, in seconds since the first attempt was asked for.
type bar struct {
	Lane  string  `json:"lane"`
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Kind  string  `json:"kind"` // load, work or failed
	Title string  `json:"title"`
}

// shownBars is how many bars a page can show; of more the longest are shown.
const shownBars = 4000

// timeline lays the attempts out: for the list, and as bars of which none overlap in a lane. A node has as many lanes as it did at once.
func timeline(attempts []Attempt) (views []spanView, bars []bar) {
	if len(attempts) == 0 {
		return nil, nil
	}
	start := attempts[0].Asked
	for _, a := range attempts {
		if a.Asked.Before(start) {
			start = a.Asked
		}
	}
	since := func(t time.Time) float64 { return math.Round(t.Sub(start).Seconds()*1000) / 1000 }
	free := map[string][]time.Time{} // by node, when each of its lanes is free again
	order := slices.Clone(attempts)
	slices.SortStableFunc(order, func(a, b Attempt) int { return a.Began.Compare(b.Began) })
	for _, a := range order {
		v := spanView{Job: clean(a.Job), Attempt: a.Attempt, Node: clean(a.Node), Rows: a.Rows, End: ended(a), LoadSeconds: a.Load, WorkSeconds: a.Work}
		if a.Work > 0 {
			v.Load, v.Work = seconds(a.Load), seconds(a.Work)
			if a.Tokens > 0 {
				v.Rate = strconv.FormatFloat(float64(a.Tokens)/a.Work, 'f', 0, 64)
			}
		}
		if !a.Began.IsZero() {
			v.At = since(a.Began)
			v.Began = seconds(v.At)
		}
		views = append(views, v)
		if a.Began.IsZero() || !a.Ended.After(a.Began) {
			continue
		}
		lanes := free[a.Node]
		i := slices.IndexFunc(lanes, func(t time.Time) bool { return !t.After(a.Began) })
		if i < 0 {
			i, lanes = len(lanes), append(lanes, time.Time{})
		}
		lanes[i] = a.Ended
		free[a.Node] = lanes
		bars = append(bars, barsOf(a, fmt.Sprintf("%s #%d", clean(a.Node), i+1), since)...)
	}
	if len(bars) > shownBars {
		slices.SortStableFunc(bars, func(a, b bar) int { return int(math.Copysign(1, (b.To-b.From)-(a.To-a.From))) })
		bars = bars[:shownBars]
	}
	return views, bars
}

// barsOf is an attempt as one bar, or two where it loaded the model.
func barsOf(a Attempt, lane string, since func(time.Time) float64) []bar {
	b := bar{Lane: lane, From: since(a.Began), To: since(a.Ended), Kind: "work",
		Title: fmt.Sprintf("%s, attempt %d\n%s, %s", clean(a.Job), a.Attempt, Plural(a.Rows, "rows"), ended(a))}
	if a.State != scheduler.Done {
		b.Kind = "failed"
	}
	if a.Load <= 0 || b.From+a.Load >= b.To {
		return []bar{b}
	}
	load := b
	load.Kind, load.To = "load", b.From+a.Load
	b.From = load.To
	return []bar{load, b}
}

// ended says how an attempt ended.
func ended(a Attempt) string {
	text := string(a.State)
	if text == "" {
		text = "not known to have ended"
	}
	if a.State != scheduler.Done && a.Reason != "" {
		text += ": " + clean(a.Reason)
	}
	return text
}

func seconds(s float64) string {
	if s < 60 {
		return strconv.FormatFloat(s, 'f', 1, 64) + " s"
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

// cost sums up what the attempts took.
func cost(attempts []Attempt) []Fact {
	if len(attempts) == 0 {
		return nil
	}
	var work, load, gpus float64
	var tokens int64
	rows, again, failed := 0, 0, 0
	first, last := attempts[0].Asked, time.Time{}
	for _, a := range attempts {
		work, load, gpus = work+a.Work, load+a.Load, gpus+a.Work*float64(a.GPUs)
		tokens, rows = tokens+a.Tokens, rows+a.Rows
		if a.Attempt > 1 {
			again++
		}
		if a.State != scheduler.Done && a.State != "" {
			failed++
		}
		if a.Asked.Before(first) {
			first = a.Asked
		}
		if a.Ended.After(last) {
			last = a.Ended
		}
	}
	out := []Fact{{"attempts", fmt.Sprintf("%d, of them %d after another of the same job; %d did not end well", len(attempts), again, failed)}}
	if last.After(first) {
		out = append(out, Fact{"from first to last", seconds(last.Sub(first).Seconds())})
	}
	if gpus > 0 {
		out = append(out, Fact{"GPU-hours", strconv.FormatFloat(gpus/3600, 'f', 3, 64)})
	}
	out = append(out, Fact{"worker-hours", strconv.FormatFloat(work/3600, 'f', 3, 64)})
	if work > 0 {
		out = append(out,
			Fact{"loading models", fmt.Sprintf("%s, %.1f %% of the workers' time", seconds(load), 100*load/work)},
			Fact{"tokens", fmt.Sprintf("%d, %.0f a worker's second; %s computed", tokens, float64(tokens)/work, Plural(rows, "rows"))})
	}
	return out
}
