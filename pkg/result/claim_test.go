package result

import (
	"os"
	"sync"
	"testing"
	"time"
)

func TestTicketNames(t *testing.T) {
	for _, want := range []Ticket{{"a", 1}, {"m--d--0-10.5f", 12}, {"a.b.2", 3}} {
		if got, ok := ParseTicket(want.String()); !ok || got != want {
			t.Errorf("%q gives %+v, %v", want, got, ok)
		}
	}
	for _, s := range []string{"", "a", ".1", "a.", "a.0", "a.-1", "a.x"} {
		if got, ok := ParseTicket(s); ok {
			t.Errorf("%q gives %+v", s, got)
		}
	}
}

// TestOneTakesATicket lets many race for each of several tickets.
func TestOneTakesATicket(t *testing.T) {
	d := Dir(t.TempDir())
	for n := 1; n <= 20; n++ {
		var wg sync.WaitGroup
		var mu sync.Mutex
		winners := []int{}
		for pid := range 8 {
			wg.Go(func() {
				ok, err := d.Take(Claim{Ticket: Ticket{"job", n}, Worker: "w", PID: pid, Time: time.Now()})
				if err != nil {
					t.Error(err)
				}
				if ok {
					mu.Lock()
					winners = append(winners, pid)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		c, err := ReadClaim(d.Claim(Ticket{"job", n}))
		if err != nil || len(winners) != 1 || c.PID != winners[0] {
			t.Fatalf("ticket %d: winners %v, claim %+v, %v", n, winners, c, err)
		}
	}
	list, err := d.Claimed()
	entries, _ := os.ReadDir(d.Claims())
	if err != nil || len(list) != 20 || len(entries) != 20 {
		t.Errorf("%d tickets claimed, %d files, %v", len(list), len(entries), err)
	}
}

func TestOffersAreInOrder(t *testing.T) {
	d := Dir(t.TempDir())
	for _, pool := range []string{"first", "second", "third"} {
		if err := d.AddOffer(Offer{Pool: pool, Tickets: []Ticket{{pool, 1}}}); err != nil {
			t.Fatal(err)
		}
	}
	names, err := d.OfferNames()
	if err != nil || len(names) != 3 {
		t.Fatalf("%q, %v", names, err)
	}
	if o, err := d.ReadOffer(names[2]); err != nil || o.Pool != "third" {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestAttemptsAreNeverShared lets two submits ask for the next attempt at once.
func TestAttemptsAreNeverShared(t *testing.T) {
	d := Dir(t.TempDir())
	if err := os.MkdirAll(d.Attempt("shard", 4), 0o777); err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			n, err := d.NewAttempt("job", []string{"shard"})
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[n] || n < 5 {
				t.Errorf("attempt %d, seen %v, %v", n, seen[n], err)
			}
			seen[n] = true
		})
	}
	wg.Wait()
}
