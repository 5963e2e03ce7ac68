package cliargs

import (
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestLocate(t *testing.T) {
	json := &cli.BoolFlag{Name: "json"}
	app := &cli.App{Name: "p", Flags: []cli.Flag{&cli.StringFlag{Name: "mode", Aliases: []string{"m"}}, json}, Commands: []*cli.Command{
		{Name: "logs", Flags: []cli.Flag{json, &cli.IntFlag{Name: "attempt"}}},
		{Name: "plan", Subcommands: []*cli.Command{{Name: "diff"}}}}}
	for _, c := range []struct {
		line              string // words, "|" between them
		command, flag     string
		given, word       string
		commands, isPlain bool
	}{
		{line: "", commands: true},
		{line: "lo", word: "lo", commands: true},
		{line: "logs|", command: "logs"},
		{line: "logs|run|--json|sh", command: "logs", given: "run", word: "sh"},
		{line: "logs|run|--attempt|", command: "logs", given: "run", flag: "attempt"},
		{line: "logs|--attempt=3|run|--attempt=4", command: "logs", given: "run", flag: "attempt", word: "4"},
		{line: "-m|eval|x.toml|-", given: "x.toml", word: "-"},
		{line: "-m|", flag: "mode", commands: true},
		{line: "--mode=in", flag: "mode", word: "in", commands: true},
		{line: "--nothing=in", word: "--nothing=in", commands: true},
		{line: "plan|d", command: "plan", word: "d", commands: true},
		{line: "plan|diff|a|--|-b|-c", command: "diff", given: "a -b", word: "-c", isPlain: true},
		{line: "x.toml|logs|l", given: "x.toml logs", word: "l"},
	} {
		got := Locate(app, strings.Split(c.line, "|"))
		command, flag := "", ""
		if got.Command != nil {
			command = got.Command.Name
		}
		if got.Flag != nil {
			flag = got.Flag.Names()[0]
		}
		if command != c.command || flag != c.flag || strings.Join(got.Given, " ") != c.given || got.Word != c.word ||
			len(got.Commands) > 0 != c.commands || got.Plain != c.isPlain {
			t.Errorf("%s: command %q, flag %q, given %q, word %q, %d commands", c.line, command, flag, got.Given, got.Word, len(got.Commands))
		}
	}
	if got := Locate(app, nil); got.Word != "" || len(got.Commands) != 2 {
		t.Errorf("of no words: %+v", got)
	}
}

func TestPlaceholder(t *testing.T) {
	for _, c := range [][3]string{{"the first `N` rows", "N", "the first N rows"}, {"no value", "", "no value"}, {"one ` alone", "", "one ` alone"}} {
		if value, text := Placeholder(c[0]); value != c[1] || text != c[2] {
			t.Errorf("%q: %q, %q", c[0], value, text)
		}
	}
}

func TestVersionOf(t *testing.T) {
	for _, c := range []struct{ module, told, revision, modified, want string }{
		{"(devel)", "", "", "", "(devel)"},
		{"(devel)", "1a2b3c4-dirty", "", "", "(devel) 1a2b3c4-dirty"},
		{"(devel)", "", "0123456789abcdef", "true", "(devel) 0123456789ab-dirty"},
		{"v0.0.0-20260101000000-0123456789ab+dirty", "", "0123456789abcdef", "true", "v0.0.0-20260101000000-0123456789ab+dirty"},
		{"v1.2.0", "", "0123456789abcdef", "false", "v1.2.0 0123456789ab"},
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: c.module}}
		if c.revision != "" {
			info.Settings = []debug.BuildSetting{{Key: "vcs.modified", Value: c.modified}, {Key: "vcs.revision", Value: c.revision}}
		}
		if got := versionOf(info, c.told); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestVersionText(t *testing.T) {
	if got := strings.Split(VersionText("kernels ABI 4"), ", "); len(got) != 3 || got[0] == "" || !slices.Contains(got, "kernels ABI 4") {
		t.Errorf("%q", got)
	}
}
