package slurm

import (
	"strconv"
	"strings"
)

// seconds reads a time limit as sbatch takes it: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes or
// days-hours:minutes:seconds. 0: it is none.
func seconds(limit string) int {
	days, rest, dashed := strings.Cut(limit, "-")
	if !dashed {
		days, rest = "0", limit
	}
	var n []int
	for _, part := range append([]string{days}, strings.Split(rest, ":")...) {
		v, err := strconv.Atoi(part)
		if err != nil || v < 0 || v > 1e7 {
			return 0
		}
		n = append(n, v)
	}
	units := map[int][]int{2: {60}, 3: {60, 1}, 4: {3600, 60, 1}}[len(n)]
	if dashed {
		units = []int{3600, 60, 1}[:min(len(n)-1, 3)]
	}
	if len(units) == 0 || len(units) != len(n)-1 {
		return 0
	}
	total := n[0] * 86400
	for i, unit := range units {
		total += n[i+1] * unit
	}
	return total
}
