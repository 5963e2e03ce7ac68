package slurm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// LogOf finds the log of a job by its name, from the files of a scheduler's directory alone. "": no array of that directory has the job.
func LogOf(dir, name string) (string, error) {
	lists, err := filepath.Glob(filepath.Join(dir, "*.list"))
	if err != nil {
		return "", fmt.Errorf("looking for arrays: %w", err)
	}
	for _, path := range lists {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("reading an array's list: %w", err)
		}
		index := 0
		for line := range strings.Lines(string(b)) {
			if words := strings.Fields(line); len(words) > 1 && words[1] == name {
				return fmt.Sprintf("%s.%d.log", strings.TrimSuffix(path, ".list"), index), nil
			}
			index++
		}
	}
	return "", nil
}
