package notify

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// bot is a webhook that answers as it is told to, one answer a request; the last one goes on.
type bot struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	times  []time.Time
}

type answer struct {
	status int
	body   string
	header [2]string
	hang   bool // until the client gives up
	cut    bool // the connection, after the status
}

const secretPath = "/open-apis/bot/v2/hook/hidden-token"

func newBot(t *testing.T, answers ...answer) *bot {
	b := &bot{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		kind := r.Header.Get("Content-Type")
		if err != nil || r.Method != http.MethodPost || r.URL.RequestURI() != secretPath || !strings.HasPrefix(kind, "application/json") {
			t.Errorf("%s %s %q: %v", r.Method, r.URL, r.Header, err)
		}
		b.mu.Lock()
		a := answers[min(len(b.bodies), len(answers)-1)]
		b.bodies, b.times = append(b.bodies, string(body)), append(b.times, time.Now())
		b.mu.Unlock()
		switch {
		case a.hang:
			<-r.Context().Done()
			return
		case a.cut:
			w.Header().Set("Content-Length", "100")
		case a.header[0] != "":
			w.Header().Set(a.header[0], a.header[1])
		}
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	t.Cleanup(b.Close)
	return b
}

// hook is one of the bot with short times.
func (b *bot) hook(kind string) Hook {
	return Hook{Kind: kind, URL: b.URL + secretPath, timeout: 300 * time.Millisecond,
		pauses: []time.Duration{10 * time.Millisecond, 20 * time.Millisecond}}
}

func (b *bot) got() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bodies
}

func example() Notice {
	v := 99.5
	return Notice{Event: End, ID: "end-r-1", Time: time.Unix(1700000000, 0).UTC(), Name: "eval", Run: "/runs/r", User: "ann", Host: "login",
		Rows: 300, Done: 300, Title: "[sextant] eval is done", Text: "ann on login: 300 of 300 rows\npocket/a: 99.50 <b> & \"c\"",
		Scores: []Score{{Model: "pocket", Dataset: "a", Metric: "accuracy", Value: &v, N: 300}}}
}

const success = `{"code":0,"data":{},"msg":"success"}`

// TestBodies holds what each kind posts, byte for byte.
func TestBodies(t *testing.T) {
	for kind, want := range map[string]string{
		Lark: `{"msg_type":"post","content":{"post":{"zh_cn":{"title":"[sextant] eval is done","content":` +
			`[[{"tag":"text","text":"ann on login: 300 of 300 rows\npocket/a: 99.50 <b> & \"c\""}]]}}}}`,
		Slack: `{"text":"*[sextant] eval is done*\nann on login: 300 of 300 rows\npocket/a: 99.50 &lt;b&gt; &amp; \"c\""}`,
		JSON: `{"version":1,"event":"end","id":"end-r-1","time":"2023-11-14T22:13:20Z","name":"eval","run":"/runs/r","user":"ann","host":"login",` +
			`"rows":300,"done":300,"title":"[sextant] eval is done","text":"ann on login: 300 of 300 rows\npocket/a: 99.50 <b> & \"c\"",` +
			`"scores":[{"model":"pocket","dataset":"a","metric":"accuracy","value":99.5,"stderr":null,"n":300,"missing":0}]}`,
	} {
		b := newBot(t, answer{status: 200, body: success})
		if err := b.hook(kind).Send(t.Context(), example()); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if got := b.got(); len(got) != 1 || strings.TrimSpace(got[0]) != want {
			t.Errorf("%s:\n%s\nwant\n%s", kind, got, want)
		}
	}
}

// TestLarkSigns wants the signature that a bot with a secret checks. The value for a fixed time was computed with Python's hmac and base64.
func TestLarkSigns(t *testing.T) {
	if got := larkSign("1700000000", "hidden-secret"); got != "WYdZxuPzXv+WqneCDQ9IXCrATUE/yH3kfKepe0PVCfA=" {
		t.Errorf("the signature is %s", got)
	}
	b := newBot(t, answer{status: 200, body: success})
	h := b.hook(Lark)
	h.Secret = "hidden-secret"
	if err := h.Send(t.Context(), example()); err != nil {
		t.Fatal(err)
	}
	var m larkMessage
	if err := json.Unmarshal([]byte(b.got()[0]), &m); err != nil {
		t.Fatal(err)
	}
	sum, err := base64.StdEncoding.DecodeString(m.Sign)
	if err != nil || len(sum) != 32 || m.Sign != larkSign(m.Timestamp, h.Secret) || strings.Contains(b.got()[0], "hidden") {
		t.Errorf("%q, %v", b.got()[0], err)
	}
}

// TestFaults goes through what servers do: what passes is tried again, what does not is told at once, and no error shows the address.
func TestFaults(t *testing.T) {
	ok := answer{status: 200, body: success}
	for name, c := range map[string]struct {
		kind    string
		answers []answer
		tries   int
		want    string // part of the error; "": it comes through
	}{
		"taken at once":       {JSON, []answer{{status: 204}}, 1, ""},
		"slack's ok":          {Slack, []answer{{status: 200, body: "ok"}}, 1, ""},
		"old bot":             {Lark, []answer{{status: 200, body: `{"Extra":null,"StatusCode":0,"StatusMessage":"success"}`}}, 1, ""},
		"500 once":            {Lark, []answer{{status: 500, body: "boom"}, ok}, 2, ""},
		"500 always":          {Slack, []answer{{status: 500, body: "bo\nom\x1b[31m"}}, 3, "slack: it answers 500 Internal Server Error (bo om [31m)"},
		"503 twice":           {JSON, []answer{{status: 503}, {status: 503}, {status: 200}}, 3, ""},
		"too many":            {JSON, []answer{{status: 429, header: [2]string{"Retry-After", "0"}}, {status: 200}}, 2, ""},
		"hangs always":        {JSON, []answer{{hang: true}}, 3, "telling json: it does not answer"},
		"hangs once":          {JSON, []answer{{hang: true}, {status: 200}}, 2, ""},
		"cut":                 {Lark, []answer{{status: 200, cut: true, body: success}, ok}, 2, ""},
		"gone":                {Slack, []answer{{status: 404, body: "no_service"}}, 1, "404 Not Found (no_service): is the address right"},
		"says the address":    {Slack, []answer{{status: 404, body: "no " + secretPath + " here"}}, 1, "404 Not Found: is the address right"},
		"moved":               {JSON, []answer{{status: 302, header: [2]string{"Location", "/elsewhere"}}}, 1, "the address has moved"},
		"lark: busy":          {Lark, []answer{{status: 200, body: `{"code":11232,"msg":"frequency limited"}`}, ok}, 2, ""},
		"lark: no bot":        {Lark, []answer{{status: 200, body: `{"code":19001,"msg":"invalid"}`}}, 1, "19001 (invalid): there is no such bot"},
		"lark: signature":     {Lark, []answer{{status: 200, body: `{"code":19021,"msg":"sign match fail"}`}}, 1, "is the secret that of the bot"},
		"lark: keyword":       {Lark, []answer{{status: 200, body: `{"code":19024,"msg":"Key Words Not Found"}`}}, 1, `"sextant" is in every message`},
		"lark: another code":  {Lark, []answer{{status: 200, body: `{"code":9499,"msg":"Bad Request"}`}}, 1, "code 9499 (Bad Request)"},
		"lark: some web page": {Lark, []answer{{status: 200, body: "<html>"}}, 1, "not that of a bot (<html>)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBot(t, c.answers...)
			err := b.hook(c.kind).Send(t.Context(), example())
			if n := len(b.got()); n != c.tries {
				t.Errorf("%d tries, want %d", n, c.tries)
			}
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want %s", err, c.want)
			case err != nil && (strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), b.URL)):
				t.Errorf("the error shows the address: %v", err)
			}
		})
	}
}

// TestNoServer wants a clear error where nobody listens, and where there is no such host.
func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	h := Hook{Kind: JSON, URL: "http://" + address + secretPath, pauses: []time.Duration{time.Millisecond}}
	err = h.Send(t.Context(), example())
	if err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "hidden") {
		t.Error(err)
	}
	for _, h := range []Hook{{Kind: "larks", URL: "http://a/hidden"}, {Kind: Lark, URL: "hidden"}, {Kind: Lark, URL: "ftp://a/hidden"},
		{Kind: JSON, URL: "http://%zz/hidden"}} {
		err := h.Send(t.Context(), example())
		if err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%v: %v", h, err)
		}
	}
	if h.Secret = "hidden"; strings.Contains(fmt.Sprintf("%v %+v %#v %s", h, h, &h, h), "hidden") {
		t.Errorf("a hook shows its address: %+v", h)
	}
}

// TestBounded wants a server's wish to be asked much later not to be followed, and the end of a context to end a wait.
func TestBounded(t *testing.T) {
	b := newBot(t, answer{status: 503, header: [2]string{"Retry-After", "3600"}})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := b.hook(JSON).Send(ctx, example()); err == nil || time.Since(began) > 2*time.Second || len(b.got()) != 1 {
		t.Errorf("%v after %v and %d tries", err, time.Since(began), len(b.got()))
	}
	if longest := time.Duration(len(tryPauses)+1)*tryTimeout + time.Duration(len(tryPauses))*longestPause; longest != Longest {
		t.Errorf("Send may take %v, and Longest is %v", longest, Longest)
	}
}

// TestClip wants long texts cut after whole lines and characters, below Lark's 20 KB whatever is in them.
func TestClip(t *testing.T) {
	for _, text := range []string{strings.Repeat("评测 \"x\"\n", 3000), strings.Repeat("\x01", 20000), strings.Repeat("é", 10000)} {
		n := example()
		n.Text = text
		body, err := Hook{Kind: Lark, URL: "http://a"}.body(n, time.Now())
		if err != nil || len(body) > 19<<10 || !strings.Contains(string(body), "...") {
			t.Errorf("%d bytes, %v", len(body), err)
		}
		if !json.Valid(body) {
			t.Error("it is no JSON")
		}
	}
}
