package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sextant/kernels"
	"sextant/pkg/engine"
	"sextant/pkg/model"
)

func noEnv(string) string { return "" }

// fellow is a rank of a test, in this process.
type fellow struct {
	parts []*model.Model

	mu      sync.Mutex // the race detector does not see that an answer comes after its question
	refuses error
	slow    bool // it loads until it is told to end
	ask     Measure
}

func (f *fellow) refuse(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuses = err
}

func (f *fellow) asked() Measure {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ask
}

func (f *fellow) Load(ctx context.Context, o Open) ([]*model.Model, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.slow {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if string(o.Model) != "pocket" || len(o.Parts) != len(f.parts) {
		return nil, errors.New("the order is not what was given")
	}
	return f.parts, f.refuses
}

func (f *fellow) Measure(m Measure) (Measure, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ask = m
	return Measure{Tokens: 7, Memory: 9}, nil
}

// meeting is a host and its ranks, each with some of the parts.
type meeting struct {
	host    *Host
	fellows []*fellow
	ends    []error // of the ranks, after wait
	running sync.WaitGroup
}

// meet has ranks with so many parts each join; the first is this one.
func meet(t *testing.T, all []*model.Model, counts ...int) *meeting {
	t.Helper()
	h, err := Listen(len(counts), true, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	at, err := h.Rendezvous(true, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	m := &meeting{host: h, ends: make([]error, len(counts)-1)}
	t.Cleanup(func() { h.Close(); m.running.Wait() })
	from := counts[0]
	for i, n := range counts[1:] {
		f := &fellow{parts: all[from : from+n]}
		m.fellows = append(m.fellows, f)
		m.running.Go(func() { m.ends[i] = Serve(context.Background(), at, Seat{i + 1, slices.Repeat([]float64{1}, n)}, f) })
		from += n
	}
	speeds, err := h.Join(within(t))
	if err != nil || !slices.EqualFunc(speeds, counts[1:], func(s []float64, n int) bool { return len(s) == n }) {
		t.Fatalf("devices of speeds %v joined, %v", speeds, err)
	}
	return m
}

func within(t *testing.T) context.Context {
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(stop)
	return ctx
}

// tie opens the ranks and gives the pipeline.
func (m *meeting) tie(t *testing.T, all []*model.Model) *Pipeline {
	t.Helper()
	var opens []Open
	n := len(all)
	for _, f := range m.fellows {
		o := Open{Model: []byte("pocket")}
		for _, p := range f.parts {
			o.Parts = append(o.Parts, p.Part())
			n--
		}
		opens = append(opens, o)
	}
	if err := m.host.Open(within(t), opens); err != nil {
		t.Fatal(err)
	}
	if err := m.host.Opened(within(t)); err != nil {
		t.Fatal(err)
	}
	return m.host.Pipeline(all[:n], len(all))
}

// The outcomes are those of one process, bit for bit, with however many ranks and stages of each; the ranks end well when all is done.
func TestRanksSameBits(t *testing.T) {
	one := parts(t, 1)
	p := New(one)
	want := outcomes(t, engineOf(t, p, one, engine.Options{}))
	p.Close()
	for _, counts := range [][]int{{1, 1}, {1, 2}, {2, 1}, {1, 1, 1}} {
		n := 0
		for _, c := range counts {
			n += c
		}
		all := parts(t, n)
		m := meet(t, all, counts...)
		p := m.tie(t, all)
		e := engineOf(t, p, all, engine.Options{TokenBudget: 200})
		if got := outcomes(t, e); got != want {
			t.Errorf("ranks of %v stages: got\n%s\nwant\n%s", counts, got, want)
		}
		got, err := m.host.Measure(Measure{Tokens: 5, Rows: 6})
		if err != nil || len(got) != len(counts)-1 || got[0].Tokens != 7 || m.fellows[0].asked() != (Measure{Tokens: 5, Rows: 6}) {
			t.Errorf("measured %v, asked for %v: %v", got, m.fellows[0].asked(), err)
		}
		e.Close()
		p.Close()
		m.running.Wait()
		if err := errors.Join(m.ends...); err != nil {
			t.Errorf("ranks of %v stages ended with %v", counts, err)
		}
	}
}

// A rank that is gone ends at once what is under way, with its name; the others are told to end.
func TestRankIsGone(t *testing.T) {
	all := parts(t, 3)
	for gone := range 2 {
		m := meet(t, all, 1, 1, 1)
		p := m.tie(t, all)
		if err := p.Reserve(1, 16); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if err := m.host.seats[gone].l.conn.(*net.TCPConn).CloseRead(); err != nil { // the end of what it says, as when its process is killed
			t.Fatal(err)
		}
		<-m.host.Dead()
		err := p.Reserve(1, 16)
		name := fmt.Sprintf("rank %d (process %d on ", gone+1, os.Getpid())
		if !errors.Is(err, ErrRank) || !strings.HasPrefix(err.Error(), name) || time.Since(begun) > 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		p.Close()
		m.running.Wait()
		if err := errors.Join(m.ends...); err != nil {
			t.Errorf("the ranks, which were told to end, ended with %v", err)
		}
	}
}

// Ranks whose first is gone end with that.
func TestFirstIsGone(t *testing.T) {
	all := parts(t, 2)
	m := meet(t, all, 1, 1)
	p := m.tie(t, all)
	m.host.seats[0].l.close()
	m.running.Wait()
	if err := m.ends[0]; !errors.Is(err, ErrRank) || !strings.Contains(err.Error(), "rank 0") {
		t.Errorf("the rank ended with %v", err)
	}
	p.Close()
}

// The refusal of a rank and its faults are told with who it is and what they are.
func TestRankFaults(t *testing.T) {
	all := parts(t, 2)
	m := meet(t, all, 1, 1)
	m.fellows[0].refuse(kernels.ErrNoMemory)
	if err := m.host.Open(within(t), []Open{{Model: []byte("pocket"), Parts: []model.Part{all[1].Part()}}}); err != nil {
		t.Fatal(err)
	}
	if err := m.host.Opened(within(t)); !errors.Is(err, kernels.ErrNoMemory) || !strings.Contains(err.Error(), "rank 1 (process ") {
		t.Errorf("a rank without memory: %v", err)
	}
	m.host.Close()
	m = meet(t, all, 1, 1)
	p := m.tie(t, all)
	defer p.Close()
	if err := p.Reserve(1<<30, 1<<10); !errors.Is(err, engine.ErrMemory) {
		t.Errorf("more memory than there is: %v", err)
	}
	if err := p.Reserve(2, 16); err != nil {
		t.Error(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer stop()
	lonely, err := Listen(2, true, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	defer lonely.Close()
	if _, err := lonely.Join(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "0 of 1 came") {
		t.Errorf("nobody comes: %v", err)
	}
}

// Who is told to stop while the others load does not wait for them, and they end too.
func TestStoppedWhileLoading(t *testing.T) {
	all := parts(t, 2)
	m := meet(t, all, 1, 1)
	m.fellows[0].mu.Lock()
	m.fellows[0].slow = true
	m.fellows[0].mu.Unlock()
	if err := m.host.Open(within(t), []Open{{Model: []byte("pocket"), Parts: []model.Part{all[1].Part()}}}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer stop()
	begun := time.Now()
	if err := m.host.Opened(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "rank 1 (process ") {
		t.Error(err)
	}
	m.host.Close()
	m.running.Wait()
	if took := time.Since(begun); took > leaveTime || m.ends[0] != nil {
		t.Errorf("the rank ended after %v with %v", took, m.ends[0])
	}
}

// A rank that came and that nobody has waited for leaves as soon as the host is closed.
func TestTurnedAway(t *testing.T) {
	h, err := Listen(3, true, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	at, _ := h.Rendezvous(true, noEnv)
	ended := make(chan error)
	go func() { ended <- Serve(within(t), at, Seat{1, []float64{1}}, &fellow{}) }()
	for len(h.come) == 0 {
		time.Sleep(time.Millisecond)
	}
	h.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, ErrRank) {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("it stays")
	}
}

// Whoever has not the token is not let in.
func TestStrangers(t *testing.T) {
	h, err := Listen(2, true, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	at, _ := h.Rendezvous(true, noEnv)
	for _, c := range []control{{Kind: hello, Rank: 1}, {Kind: hello, Rank: 1, Token: "x" + at.Token[1:]}, {Kind: bye, Rank: 1, Token: at.Token},
		{Kind: hello, Rank: 2, Token: at.Token, Speeds: []float64{1}},
		{Kind: hello, Rank: 0, Token: at.Token, Speeds: []float64{1}}, {Kind: hello, Rank: 1, Token: at.Token}, {Kind: hello, Rank: 1, Token: at.Token, Speeds: []float64{0}}} {
		l, err := dial(within(t), at.Addrs)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.send(c, nil); err != nil {
			t.Fatal(err)
		}
		_ = l.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := l.conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%+v was let in: %v", c, err)
		}
		l.close()
	}
	if len(h.come) != 0 {
		t.Errorf("%d strangers came in", len(h.come))
	}
}

func TestInterfaces(t *testing.T) {
	for _, c := range []struct {
		rule, name string
		want       bool
	}{{"", "eth0", true}, {"eth", "eth0", true}, {"ib,eth", "eth1", true}, {"ib", "eth0", false}, {"=eth", "eth0", false}, {"=ib0,eth0", "eth0", true},
		{"^docker,lo", "eth0", true}, {"^docker,lo", "docker0", false}, {"^=lo", "lo", false}, {"^=lo", "lo1", true}} {
		if got := chosen(c.rule, c.name); got != c.want {
			t.Errorf("%q chooses %q: %v", c.rule, c.name, got)
		}
	}
	ips, err := addresses(false, func(name string) string { return map[string]string{"NCCL_SOCKET_IFNAME": "=lo"}[name] })
	if err != nil || !slices.Contains(ips, "127.0.0.1") {
		t.Errorf("lo has %v: %v", ips, err)
	}
	_, err = addresses(false, func(string) string { return "none7" })
	if err == nil || !strings.Contains(err.Error(), `SEXTANT_SOCKET_IFNAME is "none7"`) {
		t.Errorf("an interface that is not there: %v", err)
	}
}

// FuzzFrame: what comes over a connection gives a frame that was sent, or an error.
func FuzzFrame(f *testing.F) {
	var sent bytes.Buffer
	l := &link{conn: writer{&sent}}
	pass := engine.Pass{Batch: model.Batch{Tokens: []int32{1, 2}}}
	if err := l.send(parcel{Seq: 3, Order: order{Do: score, Pass: pass}}, []float32{1, 2, 3}); err != nil {
		f.Fatal(err)
	}
	good := bytes.Clone(sent.Bytes())
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte("SXL1\xff\xff\xff\x0f\xff\xff\xff\xff\xff\xff\xff\x00aaaa"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		var c parcel
		states, err := readFrame(bytes.NewReader(data), &c, nil)
		if bytes.HasPrefix(data, good) && (err != nil || c.Seq != 3 || !slices.Equal(states, []float32{1, 2, 3})) {
			t.Errorf("a good frame gives %v, %v, %v", c, states, err)
		}
	})
}

type writer struct{ *bytes.Buffer }

func (writer) Close() error                     { return nil }
func (writer) LocalAddr() net.Addr              { return nil }
func (writer) RemoteAddr() net.Addr             { return nil }
func (writer) SetDeadline(time.Time) error      { return nil }
func (writer) SetReadDeadline(time.Time) error  { return nil }
func (writer) SetWriteDeadline(time.Time) error { return nil }
