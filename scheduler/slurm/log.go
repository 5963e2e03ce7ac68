package slurm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Logs are the logs of all jobs by their names, from the files of a scheduler's directory alone.
func Logs(dir string) (map[string]string, error) {
	lists, err := filepath.Glob(filepath.Join(dir, "*.list"))
	if err != nil {
		return nil, fmt.Errorf("looking for arrays: %w", err)
	}
	logs := map[string]string{}
	for _, path := range lists {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading an array's list: %w", err)
		}
		index := 0
		for line := range strings.Lines(string(b)) {
			if words := strings.Fields(line); len(words) > 1 && logs[words[1]] == "" {
				logs[words[1]] = fmt.Sprintf("%s.%d.log", strings.TrimSuffix(path, ".list"), index)
			}
			index++
		}
	}
	return logs, nil
}
