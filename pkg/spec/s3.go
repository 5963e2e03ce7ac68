package spec

import (
	"path/filepath"
	"strings"
)

// S3 is how object stores are read, by submit and on every node. In both paths ~/ is the home directory and ${VAR} the environment's, of the machine
// that reads.
type S3 struct {
	Profiles   string `toml:"profiles" json:"profiles,omitempty"`       // the file of profiles with their keys, default ~/petreloss.conf
	CacheDir   string `toml:"cache_dir" json:"cache_dir,omitempty"`     // on the node, default sextant-cache-UID in TMPDIR or /tmp
	CacheLimit string `toml:"cache_limit" json:"cache_limit,omitempty"` // "500G"; default: what the file system has
}

// below is a path in a directory, which may be an object store's address.
func below(dir, path string) string {
	if remote.MatchString(dir) {
		return strings.TrimRight(dir, "/") + "/" + filepath.ToSlash(path)
	}
	return filepath.Join(dir, path)
}
