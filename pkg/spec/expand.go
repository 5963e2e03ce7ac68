package spec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	variable = regexp.MustCompile(`^\{[A-Za-z_][A-Za-z0-9_]*\}`)
	remote   = regexp.MustCompile(`^([A-Za-z0-9_.-]+:)?[a-z][a-z0-9+.-]*://`)
)

// expand replaces ${VAR} from the environment and $$ by a dollar. A secret is not for the places where that is done.
func expand(s string) (string, error) {
	return substitute(s, func(name string) (string, error) {
		val, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("environment variable %s is not set; set it, or write the value here", name)
		}
		if secretName.MatchString(name) {
			return "", fmt.Errorf("${%s} is by its name a secret, and what is written here can be read in plan.json and on the cluster; "+
				"the job has this machine's environment, or hand it on with slurm.env", name)
		}
		return val, nil
	})
}

// substitute replaces ${VAR} by what lookup knows of it and $$ by a dollar.
func substitute(s string, lookup func(name string) (string, error)) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found {
			break
		}
		if rest, ok := strings.CutPrefix(after, "$"); ok {
			b.WriteByte('$')
			s = rest
			continue
		}
		name := variable.FindString(after)
		if name == "" {
			return "", errors.New(`"$" begins neither ${NAME} nor $$; write $$ for a dollar`)
		}
		val, err := lookup(name[1 : len(name)-1])
		if err != nil {
			return "", err
		}
		b.WriteString(val)
		s = after[len(name):]
	}
	if out := b.String(); !strings.ContainsRune(out, 0) {
		return out, nil
	}
	return "", errors.New("contains a NUL character")
}

// resolvePath makes a path absolute from dir. Object stores' addresses are left as they are, ~/ is the home directory.
func resolvePath(path, dir string) (string, error) {
	if remote.MatchString(path) {
		return path, nil
	}
	if path == "~" || strings.HasPrefix(path, "~/") {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("finding ~: %w; write the directory's full name", err)
		}
		path = home + path[1:]
	}
	if !filepath.IsAbs(path) {
		path = below(dir, path)
	}
	if remote.MatchString(path) {
		return path, nil
	}
	return filepath.Clean(path), nil
}

// lastElement is the last non-empty element of a path or address.
func lastElement(path string) string {
	path = strings.TrimRight(path, "/")
	return path[strings.LastIndexAny(path, "/:")+1:]
}
