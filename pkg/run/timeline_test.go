package run

import (
	"os"
	"testing"
	"time"

	"sextant/pkg/result"
	"sextant/scheduler"
)

func TestTimeline(t *testing.T) {
	d := result.Dir(t.TempDir())
	journal := `{"time":"2026-01-02T03:04:00Z","event":"open","identity":"x"}
{"time":"2026-01-02T03:04:01Z","event":"submit","job":"a","attempt":1,"shards":["a"],"ref":{"name":"run.a.1"}}
{"time":"2026-01-02T03:04:01Z","event":"submit","job":"b","attempt":1,"shards":["b","c"],"ref":{"name":"run.b.1"}}
{"time":"2026-01-02T03:04:20Z","event":"end","job":"a","attempt":1,"status":{"state":"failed","node":"n1","reason":"it was killed"}}
{"time":"2026-01-02T03:04:21Z","event":"submit","job":"a","attempt":2,"shards":["a"],"ref":{"name":"run.a.2"}}
{"time":"2026-01-02T03:05:21Z","event":"end","job":"a","attempt":2,"status":{"state":"done","node":"n2"}}
{"time":"2026-01-02T03:05:22Z","event":"gi`
	if err := os.WriteFile(d.Journal(), []byte(journal), 0o666); err != nil {
		t.Fatal(err)
	}
	took := time.Date(2026, 1, 2, 3, 4, 30, 0, time.UTC)
	if ok, err := d.Take(result.Claim{Ticket: result.Ticket{Job: "a", Attempt: 2}, Worker: "run.hand.7", Host: "n2", Time: took}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := result.CommitJSON(d.End("a", 2), result.End{Host: "n2", Rows: 7, Tokens: 900, Seconds: 40, LoadSeconds: 3}); err != nil {
		t.Fatal(err)
	}
	got, err := Timeline(string(d))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 {
		t.Fatalf("%d attempts, want 3: %+v", len(got), got)
	}
	if s := got[0]; s.State != scheduler.Failed || s.Reason != "it was killed" || s.Node != "n1" || !s.Began.IsZero() || s.Ended.IsZero() {
		t.Errorf("the first attempt of a is %+v", s)
	}
	if s := got[1]; s.Job != "b" || len(s.Shards) != 2 || !s.Ended.IsZero() || s.State != "" {
		t.Errorf("the attempt of b, which nobody ended, is %+v", s)
	}
	s := got[2]
	if s.Attempt != 2 || s.State != scheduler.Done || s.Worker != "run.hand.7" || s.Rows != 7 || s.Tokens != 900 || s.Load != 3 || s.Work != 40 {
		t.Errorf("the second attempt of a is %+v", s)
	}
	if !s.Began.Equal(took) || !s.Ended.Equal(took.Add(40*time.Second)) {
		t.Errorf("it ran from %v to %v, want 40 s from %v: the journal has the moment when submit saw it", s.Began, s.Ended, took)
	}
}

func TestTimelineOfNothing(t *testing.T) {
	if got, err := Timeline(t.TempDir()); err != nil || len(got) != 0 {
		t.Errorf("a directory without a run has %v, %v", got, err)
	}
}
