//go:build cgo && amd64

package peak_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"sextant/kernels/peak"
)

// flags are what Linux calls the units.
var flags = map[string]string{"avx512bf16 bf16": "avx512_bf16", "avx512vnni int8": "avx512_vnni", "amx bf16": "amx_bf16", "amx int8": "amx_int8"}

// The units found are those that the system tells of; it may keep the tiles of amx from a process.
func TestUnits(t *testing.T) {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Skip(err)
	}
	has := map[string]bool{}
	for _, f := range strings.Fields(string(data)) {
		has[f] = true
	}
	found := map[string]bool{}
	for _, u := range peak.Units() {
		name := u.ISA + " " + u.DType
		if flags[name] == "" || !has[flags[name]] || found[name] {
			t.Errorf("%s was found, once too often or where there is none", name)
		}
		found[name] = true
	}
	for name, flag := range flags {
		if has[flag] && !found[name] && !strings.HasPrefix(name, "amx") {
			t.Errorf("%s was not found", name)
		}
	}
}

// Every unit counts what it does in proportion, at a rate that a processor may have: a loop that the compiler threw away would seem faster.
func TestRates(t *testing.T) {
	for _, u := range peak.Units() {
		const rounds = 1 << 20
		begun := time.Now()
		ops := u.Run(rounds)
		rate := ops / time.Since(begun).Seconds()
		if twice := u.Run(2 * rounds); ops <= 0 || twice != 2*ops || rate < 1e9 || rate > 1e14 {
			t.Errorf("%+v: %g operations, %g of twice the rounds, %g a second", u, ops, twice, rate)
		}
	}
}
