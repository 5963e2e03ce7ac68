package s3lab

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Fault is what a proxy does to an answer.
type Fault string

// The faults. After says how many bytes of the body pass before those that need a place.
const (
	None       Fault = ""
	Cut        Fault = "cut"         // the connection is closed in the middle of the body
	Reset      Fault = "reset"       // the connection is reset before the answer
	ResetBody  Fault = "reset body"  // and in the middle of the body
	Slow       Fault = "slow"        // a few bytes at a time, with pauses
	Busy       Fault = "503"         // 503 SlowDown
	Broken     Fault = "500"         // 500 InternalError
	Gateway    Fault = "502"         // 502 without XML, as a load balancer answers
	WrongRange Fault = "wrong range" // a range that is 16 KiB further on
	Whole      Fault = "whole"       // the whole object
	WrongTag   Fault = "wrong etag"  // another ETag
	Truncated  Fault = "truncated"   // a body that is shorter, with a length that says so
	Silent     Fault = "silent"      // nothing, until the client gives up
	Hang       Fault = "hang"        // nothing more, in the middle of the body
)

// Proxy is before a server. Its fields are set before the first request of this process.
type Proxy struct {
	URL   string
	Fault func(r *http.Request, n int) Fault // of the n-th GET of an object, from 0; nil: none
	After func(length int64) int64           // where a body is broken; nil: in the middle

	target string
	client http.Transport
	rate   atomic.Int64
	frozen atomic.Bool

	mu      sync.Mutex
	gets    int
	under   int // GETs of objects that are under way
	most    int
	bytes   int64
	free    time.Time // when the line is free again
	answers map[string]int
}

// Proxy starts a proxy that ends with the test.
func (s *Server) Proxy(t testing.TB) *Proxy {
	t.Helper()
	p := &Proxy{target: strings.TrimPrefix(s.URL, "http://"), answers: map[string]int{}}
	p.client.MaxIdleConnsPerHost, p.client.DisableCompression = 64, true
	h := httptest.NewServer(p)
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
		p.client.CloseIdleConnections()
	})
	p.URL = h.URL
	return p
}

// Heal ends the faults.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Fault = nil
}

// SetRate bounds the bytes of bodies a second, of all connections together; 0: they are not bounded.
func (p *Proxy) SetRate(rate int64) { p.rate.Store(rate) }

// Freeze has all requests that come, lists too, wait until the client gives up; they count as Silent. false: no longer.
func (p *Proxy) Freeze(on bool) { p.frozen.Store(on) }

// Gets is how many objects, or ranges of them, were asked for, and how many bytes of them went through.
func (p *Proxy) Gets() (n int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gets, p.bytes
}

// Most is how many GETs of objects were under way at once, at most.
func (p *Proxy) Most() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most
}

// Given is how often each fault was given.
func (p *Proxy) Given() map[Fault]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	given := map[Fault]int{}
	for f, n := range p.answers {
		given[Fault(f)] = n
	}
	return given
}

// isObject tells whether a request is a GET of an object, and not of a list.
func isObject(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Count(strings.Trim(r.URL.Path, "/"), "/") > 0
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault := None
	if isObject(r) {
		p.mu.Lock()
		n, choose := p.gets, p.Fault
		p.gets++
		p.under++
		p.most = max(p.most, p.under)
		p.mu.Unlock()
		defer func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.under--
		}()
		if choose != nil {
			fault = choose(r, n)
		}
	}
	if p.frozen.Load() {
		fault = Silent
	}
	p.mu.Lock()
	p.answers[string(fault)]++
	p.mu.Unlock()
	switch fault {
	case Reset:
		reset(w)
		return
	case Silent:
		<-r.Context().Done()
		return
	case Busy, Broken, Gateway:
		refuse(w, fault)
		return
	}
	answer, err := p.forward(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	if fault == WrongRange || fault == Whole {
		other(answer, fault)
	}
	p.pass(w, r, answer, fault)
}

// refuse answers with a status that is not the server's.
func refuse(w http.ResponseWriter, f Fault) {
	status, _ := strconv.Atoi(string(f))
	w.WriteHeader(status)
	switch f {
	case Busy:
		fmt.Fprint(w, `<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
	case Broken:
		fmt.Fprint(w, `<?xml version="1.0"?><Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>`)
	default:
		fmt.Fprint(w, "<html><body>502 Bad Gateway</body></html>")
	}
}

// forward asks the server. The signature covers the host that the client asked, and the range: both stay.
func (p *Proxy) forward(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = "http", p.target, ""
	out.Host = r.Host
	return p.client.RoundTrip(out)
}

// other makes an answer one to another question: for a range a little further on, or for the whole object, whose bytes are zeros here.
func other(answer *http.Response, f Fault) {
	const further = 16 << 10
	var from, to, size int64
	n, _ := fmt.Sscanf(answer.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size)
	switch {
	case n < 3:
	case f == WrongRange && to-from > further:
		_, _ = io.CopyN(io.Discard, answer.Body, further)
		answer.ContentLength -= further
		answer.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from+further, to, size))
	case f == Whole:
		answer.StatusCode, answer.ContentLength = http.StatusOK, size
		answer.Header.Del("Content-Range")
		answer.Body = io.NopCloser(io.LimitReader(zeros{}, size))
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// pass gives the answer to the client, broken where the fault says so.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, answer *http.Response, f Fault) {
	maps.Copy(w.Header(), answer.Header)
	length := answer.ContentLength
	at := length
	if f == Cut || f == ResetBody || f == Hang || f == Truncated {
		if at = length / 2; p.After != nil {
			at = min(length, p.After(length))
		}
	}
	switch {
	case f == Truncated:
		w.Header().Set("Content-Length", strconv.FormatInt(at, 10))
	case length >= 0:
		w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
	}
	if f == WrongTag {
		w.Header().Set("ETag", `"00000000000000000000000000000000"`)
	}
	w.WriteHeader(answer.StatusCode)
	p.copy(w, r, io.LimitReader(answer.Body, max(at, 0)), f == Slow)
	switch f {
	case Cut, ResetBody:
		if f == ResetBody {
			reset(w)
		}
		panic(http.ErrAbortHandler)
	case Hang:
		<-r.Context().Done()
	}
}

// copy passes a body on, at the proxy's rate.
func (p *Proxy) copy(w http.ResponseWriter, r *http.Request, body io.Reader, slow bool) {
	buf := make([]byte, 64<<10)
	if slow {
		buf = buf[:32<<10]
	}
	for {
		n, err := body.Read(buf)
		if n > 0 {
			p.wait(n)
			if slow {
				time.Sleep(time.Millisecond)
			}
			if isObject(r) { // counted before the client has them
				p.mu.Lock()
				p.bytes += int64(n)
				p.mu.Unlock()
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
		if err != nil {
			return
		}
	}
}

// wait ends when the line has room for n bytes.
func (p *Proxy) wait(n int) {
	rate := p.rate.Load()
	if rate <= 0 {
		return
	}
	p.mu.Lock()
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	until := p.free
	p.mu.Unlock()
	time.Sleep(time.Until(until))
}

// reset ends the connection with a reset, whatever was written.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}
