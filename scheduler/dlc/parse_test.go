package dlc

import (
	"reflect"
	"strings"
	"testing"
)

const created = `{
   "DisplayName": "run.1",
   "UserCommand": "echo | dlc1fake |",
   "WorkspaceId": "259315"
}
+------------------+--------------------------------------+
|      JobId       |              RequestId               |
+------------------+--------------------------------------+
| dlc1xjcumbfm7aai | 71CB9CAA-87F6-5F8E-A38A-8D0E32F2559F |
+------------------+--------------------------------------+
`

const listed = `[OK] something a version says
+--------------------------------+------------------+-------------+-----------+----------------------+
|              Name              |      JobId       | WorkspaceId | JobStatus |      CreateTime      |
+--------------------------------+------------------+-------------+-----------+----------------------+
| eval_llama_7b_aaaaaaaaaaaaaaaa | dlc17isyru6cven2 |      240810 | Stopped   | 2026-01-02T03:04:05Z |
| bbbbbbbbbb                     |                  |             |           |                      |
| short                          | dlc1x            |      240810 | Queuing   | 2026-01-02T03:04:06Z |
+--------------------------------+------------------+-------------+-----------+----------------------+
`

func TestParse(t *testing.T) {
	for text, want := range map[string]string{created: "dlc1xjcumbfm7aai", `{"JobId": "dlcabc"}`: "dlcabc", "": "", "[FAILED] code: 400": "",
		"| name |": ""} {
		if id, ok := parseCreated(text); id != want || ok != (want != "") {
			t.Errorf("%q: %q", text, id)
		}
	}
	two := []row{{"dlc17isyru6cven2", "eval_llama_7b_aaaaaaaaaaaaaaaabbbbbbbbbb", "Stopped", "2026-01-02T03:04:05Z"},
		{"dlc1x", "short", "Queuing", "2026-01-02T03:04:06Z"}}
	empty := listed[:strings.Index(listed, "| eval")]
	for text, want := range map[string][]row{
		listed: two, empty: nil, "": nil, "No jobs found": nil,
		`{"DisplayName": "one", "JobId": "dlc1", "Status": "Running", "UserCommand": "a | b"}`:        {{"dlc1", "one", "Running", ""}},
		"[OK]\n{\"Jobs\": [{\"DisplayName\": \"one\", \"JobId\": \"dlc1\", \"Status\": \"Failed\"}]}": {{"dlc1", "one", "Failed", ""}},
	} {
		if got, err := parseList(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"panic: runtime error", "{", "[FAILED] code: 500", `{"JobId": "dlc1"}`, "a | b"} {
		if rows, err := parseList(text); err == nil {
			t.Errorf("%q gives %v", text, rows)
		}
	}
	d, err := parseDetail("[OK] x\n{\"Status\": \"Failed\", \"Pods\": [{\"PodId\": \"p-0\"}], \"ReasonCode\": \"X\"}\n")
	if err != nil || d.Pods[0].PodID != "p-0" || d.ReasonCode != "X" {
		t.Errorf("%+v, %v", d, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{created, listed, `{"Status": "Running"}`, "| JobId |\n| |\n| a |", "|\n||"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if id, ok := parseCreated(text); ok && !strings.HasPrefix(id, "dlc") {
			t.Errorf("id %q", id)
		}
		rows, err := parseList(text)
		if err != nil && len(rows) > 0 {
			t.Errorf("%v and %v", rows, err)
		}
		_, _ = parseDetail(text)
		if n := displayName(text); text != "" && !nameForm.MatchString(n) {
			t.Errorf("display name %q", n)
		}
	})
}
