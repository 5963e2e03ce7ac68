// Package notify tells a chat or a program over HTTP how a run goes: a Lark (Feishu) bot, a Slack webhook, or whoever takes JSON.
//
// A webhook's address is a secret: whoever has it can post. It is in no error of this package, and neither is what signs its messages.
package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The kinds of webhook.
const (
	Lark  = "lark"  // a custom bot of Feishu or Lark
	Slack = "slack" // an incoming webhook of Slack, or of what is like it (Mattermost, Rocket.Chat)
	JSON  = "json"  // a Notice as it is
)

// What a Notice is of.
const (
	Start   = "start"   // work begins
	End     = "end"     // all is done
	Failure = "failure" // it ended otherwise, or rows have no score
)

// Version is raised when a field of Notice changes its meaning or goes.
const Version = 1

// Notice is what happened, as kind JSON posts it. The others post its title and its text.
type Notice struct {
	Version int       `json:"version"`
	Event   string    `json:"event"` // Start, End or Failure
	ID      string    `json:"id"`    // the same for a notice that had to be sent again by another process
	Time    time.Time `json:"time"`
	Name    string    `json:"name"` // of the spec
	Run     string    `json:"run"`  // its directory
	User    string    `json:"user"`
	Host    string    `json:"host"`
	Rows    int       `json:"rows"`
	Done    int       `json:"done"`
	Seconds float64   `json:"seconds,omitempty"` // since the work began; 0: not known
	Title   string    `json:"title"`
	Text    string    `json:"text"`
	Scores  []Score   `json:"scores,omitempty"` // of datasets, then of groups
}

// Score is a score of an End or a Failure.
type Score struct {
	Model   string   `json:"model"`
	Dataset string   `json:"dataset"` // or a group
	Metric  string   `json:"metric"`
	Value   *float64 `json:"value"` // null: none
	StdErr  *float64 `json:"stderr"`
	N       int      `json:"n"`
	Missing int      `json:"missing"`
}

// Hook is where notices go. The zero values of its last fields are the usual ones.
type Hook struct {
	Kind   string
	URL    string // http or https
	Secret string // lark: what signs messages; "": the bot wants none

	timeout time.Duration   // of one try
	pauses  []time.Duration // between tries, one less than these are
}

// String is the kind: the rest is nobody's business.
func (h Hook) String() string { return h.Kind }

// GoString is String, for whoever prints a hook with %#v.
func (h Hook) GoString() string { return h.Kind }

// A try takes 5 s at most. Three of them, with a pause of 1 s and one of 3 s, are enough for a server that is started anew, and short enough to
// be waited for. What a server asks for with Retry-After is bounded by the longest pause.
const (
	tryTimeout   = 5 * time.Second
	longestPause = 3 * time.Second
)

var tryPauses = []time.Duration{time.Second, longestPause}

// Longest is how long Send takes at most.
const Longest = 3*tryTimeout + 2*longestPause

// Check says what is wrong with a hook, without its address.
func (h Hook) Check() error {
	u, err := url.Parse(h.URL)
	switch {
	case h.Kind != Lark && h.Kind != Slack && h.Kind != JSON:
		return fmt.Errorf("kind %q is not known: write %s, %s or %s", h.Kind, Lark, Slack, JSON)
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return errors.New("the address is no URL with http:// or https:// and a host")
	}
	return nil
}

// Send posts a notice. What may pass by itself is tried again: no connection, no answer within 5 s, an answer that says "later". It returns when
// the server has taken the notice, when there is no hope, or after Longest; the error tells what the last try met.
func (h Hook) Send(ctx context.Context, n Notice) error {
	if err := h.Check(); err != nil {
		return err
	}
	pauses := h.pauses
	if pauses == nil {
		pauses = tryPauses
	}
	for try := 0; ; try++ {
		again, err := h.try(ctx, n)
		switch {
		case err == nil:
			return nil
		case again < 0 || try == len(pauses) || ctx.Err() != nil:
			return fmt.Errorf("telling %s: %w", h.Kind, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("telling %s: %w", h.Kind, err)
		case <-time.After(min(max(again, pauses[try]), longestPause)):
		}
	}
}

// never says that another try is of no use.
const never = -1

// try posts once. again is how long the server asks to wait before the next try, or never.
func (h Hook) try(ctx context.Context, n Notice) (again time.Duration, err error) {
	timeout := h.timeout
	if timeout == 0 {
		timeout = tryTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body, err := h.body(n, time.Now())
	if err != nil {
		return never, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return never, errors.New("the address is no URL")
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "sextant")
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return 0, h.plain(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return 0, h.plain(err)
	}
	return h.judge(resp, answer)
}

// plain is an error of the client without the address, which it begins with.
func (h Hook) plain(err error) error {
	var u *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("it does not answer")
	case errors.As(err, &u):
		return u.Err
	}
	return err
}

// judge says what an answer means.
func (h Hook) judge(resp *http.Response, answer []byte) (again time.Duration, err error) {
	switch code := resp.StatusCode; {
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code == http.StatusTooEarly:
		return retryAfter(resp), fmt.Errorf("it answers %s%s", resp.Status, h.said(answer))
	case code >= 300 && code < 400:
		return never, fmt.Errorf("it answers %s: the address has moved; give the new one", resp.Status)
	case code >= 400:
		return never, fmt.Errorf("it answers %s%s: is the address right, and the webhook still there?", resp.Status, h.said(answer))
	case h.Kind == Lark:
		return h.larkAnswer(answer)
	}
	return 0, nil
}

func retryAfter(resp *http.Response) time.Duration {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, 3600)) * time.Second
}

// path is the part of the address that is the secret.
func (h Hook) path() string {
	u, err := url.Parse(h.URL)
	if err != nil || len(u.RequestURI()) < 2 {
		return ""
	}
	return u.RequestURI()
}
