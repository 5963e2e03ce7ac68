package batch

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	p := NewPace(20*time.Millisecond, 40*time.Millisecond)
	began := time.Now()
	for range 4 { // 20, 30, 40, 40
		if err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if d := time.Since(began); d < 117*time.Millisecond {
		t.Errorf("four waits took %s", d)
	}
	p.interval, p.due, p.min = time.Hour, time.Now().Add(time.Hour), 10*time.Millisecond
	go func() {
		time.Sleep(10 * time.Millisecond)
		p.Soon()
	}()
	if err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}
