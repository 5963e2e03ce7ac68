//go:build cgo

package peak_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sextant/kernels/peak"
)

// Every unit counts what it does in proportion, takes longer for more of it, and does it at a rate that a processor may have.
func TestUnits(t *testing.T) {
	units := peak.Units()
	if len(units) == 0 || units[0].ISA != "generic" || units[0].DType != "f32" {
		t.Fatalf("units %+v", units)
	}
	for _, u := range units {
		const rounds = 1 << 20
		begun := time.Now()
		ops := u.Run(rounds)
		rate := ops / time.Since(begun).Seconds()
		if twice := u.Run(2 * rounds); ops <= 0 || twice != 2*ops {
			t.Errorf("%+v: %g operations, and %g of twice the rounds", u, ops, twice)
		}
		if rate < 1e8 || rate > 1e14 { // a loop that the compiler threw away would seem to be faster
			t.Errorf("%+v: %g operations a second", u, rate)
		}
	}
}

func TestRead(t *testing.T) {
	for _, pages := range []int{0, 1, 3, 4, 5, 4099} {
		b, err := unix.Mmap(-1, 0, (pages+1)*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		// What lies behind is not to be read.
		if err := unix.Mprotect(b[pages*4096:], unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
		peak.Read(b[:pages*4096])
		if err := unix.Munmap(b); err != nil {
			t.Fatal(err)
		}
	}
}
