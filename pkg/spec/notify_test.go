package spec

import (
	"reflect"
	"strings"
	"testing"
)

func notifySpec(lines string) (*Spec, error) {
	text := "[notify]\n" + lines + "\n[[models]]\npath = '/m'\n[[dataset]]\nabbr = 'd'\nmode = 'rolling'\ntest.path = '/x.txt'\n"
	return load("eval.toml", Options{}, inMemory(map[string]string{"eval.toml": text}))
}

func TestNotify(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{`url = "${A}"`, "eval.toml:1:2: notify.kind: missing"},
		{`kind = "larks"`, `notify.kind: is "larks"; did you mean "lark"?`},
		{`kind = "lark"`, "eval.toml:1:2: notify.url: missing"},
		{`kind = "slack"` + "\n" + `url = "https://hooks.slack.com/services/T1/B2/hidden"`,
			"eval.toml:3:1: notify.url: is an address, with which anybody can post"},
		{`kind = "lark"` + "\n" + `url = "$BOT"`, `notify.url: "$" begins neither`},
		{`kind = "json"` + "\n" + `url = "example.org/hidden"`, "notify.url: is no address"},
		{`kind = "json"` + "\n" + `url = "https://u:hidden@example.org/"`, "notify.url: has a password in it"},
		{`kind = "lark"` + "\n" + `url = "${A}"` + "\n" + `secret = "hidden"`, "eval.toml:4:1: notify.secret: what is written here can be read"},
		{`kind = "slack"` + "\n" + `url = "${A}"` + "\n" + `secret = "${B}"`, "notify.secret: has no effect with kind"},
		{`kind = "slack"` + "\n" + `url = "${A}"` + "\n" + `on = ["ended"]`, "notify.on"},
	} {
		_, err := notifySpec(c.lines)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s:\n%v\nwant %s", c.lines, err, c.want)
		}
	}
	for _, lines := range []string{`kind = "json"` + "\n" + `url = "http://localhost:9/x?a=b"`,
		`kind = "lark"` + "\n" + `url = "https://open.feishu.cn/${NOT_SET}"`} {
		if _, err := notifySpec(lines); err != nil {
			t.Errorf("%s: %v", lines, err)
		}
	}
}

// TestNotifyMerged holds that a member who is told elsewhere is rid of the team's address and secret, and keeps what else is said.
func TestNotifyMerged(t *testing.T) {
	files := map[string]string{
		"base.toml": "[notify]\nkind = 'lark'\nurl = '${A}'\nsecret = '${B}'\non = ['end']\n",
		"eval.toml": "include = ['base.toml']\n[notify]\nkind = 'slack'\nurl = '${C}'\n[[models]]\npath = '/m'\n" +
			"[[dataset]]\nabbr = 'd'\nmode = 'rolling'\ntest.path = '/x.txt'\n",
	}
	s, err := load("eval.toml", Options{}, inMemory(files))
	if err != nil || !reflect.DeepEqual(s.Notify, Notify{Kind: "slack", URL: "${C}", On: []string{"end"}}) {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestNotifyAddress holds that what the environment has is not in the spec, only in what Address gives.
func TestNotifyAddress(t *testing.T) {
	s, err := notifySpec(`kind = "lark"` + "\n" + `url = "${SPEC_TEST_BOT_TOKEN}/$$"` + "\n" + `secret = "${SPEC_TEST_BOT_SECRET}"`)
	if err != nil || s.Notify.URL != "${SPEC_TEST_BOT_TOKEN}/$$" {
		t.Fatal(s, err)
	}
	if _, _, err := s.Notify.Address(); err == nil || err.Error() != "notify.url: environment variable SPEC_TEST_BOT_TOKEN is not set" {
		t.Error(err)
	}
	t.Setenv("SPEC_TEST_BOT_TOKEN", "https://a/b")
	if _, _, err := s.Notify.Address(); err == nil || !strings.Contains(err.Error(), "SPEC_TEST_BOT_SECRET") || strings.Contains(err.Error(), "a/b") {
		t.Error(err)
	}
	t.Setenv("SPEC_TEST_BOT_SECRET", "s")
	if url, secret, err := s.Notify.Address(); url != "https://a/b/$" || secret != "s" || err != nil {
		t.Error(url, secret, err)
	}
}
