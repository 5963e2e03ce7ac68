package cliargs

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// revision of the source, where the build was told it: make build does by -ldflags -X.
var revision string

// Version names the program by what it was built from: the module's version and, where it is not told by that, the revision of the source.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(not known)"
	}
	return versionOf(info, revision)
}

func versionOf(info *debug.BuildInfo, revision string) string {
	changed := false
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && revision == "":
			revision = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified":
			changed = s.Value == "true"
		}
	}
	text := info.Main.Version
	if revision != "" && !strings.Contains(text, revision) {
		text += " " + revision
		if changed && !strings.Contains(text, "dirty") {
			text += "-dirty"
		}
	}
	return text
}

// VersionText is what --version prints after the program's name: the version, what else there is to say, the compiler and the platform.
func VersionText(further ...string) string {
	return strings.Join(append(append([]string{Version()}, further...), runtime.Version()+" "+runtime.GOOS+"/"+runtime.GOARCH), ", ")
}
