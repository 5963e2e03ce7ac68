package slurm

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseQueue(t *testing.T) {
	at := time.Date(2026, 11, 21, 22, 33, 57, 0, time.Local)
	for _, c := range []struct {
		line string
		want []row
	}{
		{"1_0|sx-a|RUNNING|node1|2026-11-21T22:33:57|2026-11-21T22:33:57|N/A|None", []row{{array: "1", token: "sx-a", state: "RUNNING", node: "node1", start: at}}},
		{"1_3|sx-a|PENDING||N/A|2026-11-21T22:33:57|N/A|JobArrayTaskLimit", []row{{array: "1", index: 3, token: "sx-a", state: "PENDING", reason: "JobArrayTaskLimit"}}},
		{"1_3|sx-a|PENDING||N/A|x|N/A|Nodes required for job are DOWN, DRAINED or reserved | (lab)\r", []row{{array: "1", index: 3, token: "sx-a", state: "PENDING",
			reason: "Nodes required for job are DOWN, DRAINED or reserved | (lab)"}}},
		{"1_[3-4,7%2]|sx-a|PENDING||N/A|x|N/A|", []row{{array: "1", index: 3, token: "sx-a", state: "PENDING"}, {array: "1", index: 4, token: "sx-a", state: "PENDING"},
			{array: "1", index: 7, token: "sx-a", state: "PENDING"}}},
		{"3|sx-c|CANCELLED||2026-11-21T22:33:57|x|2026-11-21T22:33:57|Dependency", []row{{array: "3", index: -1, token: "sx-c", state: "CANCELLED", start: at, end: at, reason: "Dependency"}}},
		{"1_3|sx-a|PENDING||N/A|x|N/A", nil},
		{"1_3|sx-a|||N/A|x|N/A|", nil},
		{"1_x|sx-a|PENDING||N/A|x|N/A|", nil},
		{"1_-3|sx-a|PENDING||N/A|x|N/A|", nil},
		{"1_99999999999|sx-a|PENDING||N/A|x|N/A|", nil},
		{"1_[3-|sx-a|PENDING||N/A|x|N/A|", nil},
		{"1_[0-99999999]|sx-a|PENDING||N/A|x|N/A|", nil},
		{"-1_3|sx-a|PENDING||N/A|x|N/A|", nil},
		{"Welcome! | a | b | c | d | e | f | g", nil},
		{"", nil},
	} {
		if got := parseQueue(c.line + "\n"); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q:\n got %+v\nwant %+v", c.line, got, c.want)
		}
		if got := parseQueue(c.line); got != nil {
			t.Errorf("%q: of a line that is not ended: %+v", c.line, got)
		}
	}
}

func TestParseAccounts(t *testing.T) {
	got := parseAccounts(`slurm_persist_conn_open: retrying
2_0|10|sx-b|CANCELLED by 0|0:15|node[3-4]|2026-11-21T22:33:57|2026-11-21T22:33:57
2_[0-1%1]|2|sx-b|CANCELLED by 0|0:0|None assigned|None|2026-11-21T22:33:57
3|3|sx-c|FAILED|3:0|a,b|Unknown|Unknown
4_1|3|a|name|FAILED|3:0|a|Unknown|Unknown
4_1|3|sx|FAILED|three|a|Unknown|Unknown
4_1|3|sx|FAIL`)
	at := time.Date(2026, 11, 21, 22, 33, 57, 0, time.Local)
	want := []record{
		{row: row{array: "2", token: "sx-b", state: "CANCELLED", node: "node3", start: at, end: at}, signal: 15},
		{row: row{array: "2", token: "sx-b", state: "CANCELLED", end: at}, collective: true},
		{row: row{array: "2", index: 1, token: "sx-b", state: "CANCELLED", end: at}, collective: true},
		{row: row{array: "3", index: -1, token: "sx-c", state: "FAILED", node: "a"}, exit: 3, collective: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestParseShow(t *testing.T) {
	got := parseShow("Welcome = you\nJobId=8 ArrayJobId=5 ArrayTaskId=0 JobName=sx-e UserId=root(0) JobState=FAILED Reason=NonZeroExitCode ExitCode=3:0 StartTime=2026-11-21T22:33:57 " +
		"EndTime=2026-11-21T22:33:57 NodeList=node1 BatchHost=node1 Comment=x JobState=COMPLETED ExitCode=0:0\n" +
		"JobId=9 ArrayJobId=5 ArrayTaskId=1-3 JobName=sx-e JobState=PENDING ExitCode=0:0\nJobId=9 JobName=none JobState=FAILED ExitCode=0:0\n")
	at := time.Date(2026, 11, 21, 22, 33, 57, 0, time.Local)
	if want := []record{{row: row{array: "5", token: "sx-e", state: "FAILED", node: "node1", start: at, end: at, reason: "NonZeroExitCode"}, exit: 3}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestParseSubmitted(t *testing.T) {
	for out, want := range map[string]string{
		"12\n":                          "12",
		"12;lab\n":                      "12",
		"Welcome, 7 jobs run\n\n 12 \n": "12",
		"12\n*** notice ***\n":          "12",
		"3\n12;lab\nbye":                "12",
		"Submitted batch job 12\n":      "",
		"":                              "",
		"-5\n":                          "",
	} {
		if got, ok := parseSubmitted(out); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, want %q", out, got, want)
		}
	}
}

func TestFirstNode(t *testing.T) {
	for list, want := range map[string]string{"": "", "node1": "node1", "a,b": "a", "node[01-03,7],x": "node01", "n[5]": "n5", "rack[1-2]-ib": "rack1-ib", "None assigned": "", "(null)": "", "n[": "n"} {
		if got := firstNode(list); got != want {
			t.Errorf("%q: got %q, want %q", list, got, want)
		}
	}
}

// What is written for scancel reads as the same elements.
func TestRangesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		indexes := slices.Compact(slices.Sorted(slices.Values(rapid.SliceOfN(rapid.IntRange(0, 5000), 0, 600).Draw(t, "indexes"))))
		var back []int
		for _, word := range ranges("12", indexes) {
			array, some, ok := parseElement(word)
			if !ok || array != "12" || len(word) > 1100 {
				t.Fatalf("%q", word)
			}
			back = append(back, some...)
		}
		if !slices.Equal(back, indexes) {
			t.Fatalf("%v became %v", indexes, back)
		}
	})
}

func FuzzParseQueue(f *testing.F) {
	f.Add("1_0|sx-a|RUNNING|node[1-2]|2026-11-21T22:33:57|2026-11-21T22:33:57|N/A|None\n1_[3-4,7%2]|sx-a|PENDING||N/A|x|N/A|a|b\n3|x|CANCELLED||||N/A|\n")
	f.Fuzz(func(t *testing.T, out string) {
		for _, r := range parseQueue(out) {
			if !arrayID.MatchString(r.array) || r.index < -1 || r.index >= maxIndex || r.state == "" || strings.ContainsAny(r.reason+r.node, "\n") {
				t.Errorf("%+v", r)
			}
		}
	})
}

func FuzzParseAccounts(f *testing.F) {
	f.Add("2_0|10|sx-b|CANCELLED by 0|0:15|node[3-4]|2026-11-21T22:33:57|Unknown\n2_[0-1%1]|2|sx-b|FAILED|3:0|None assigned|None|x\n")
	f.Fuzz(func(t *testing.T, out string) {
		for _, r := range parseAccounts(out) {
			if !arrayID.MatchString(r.array) || r.index < -1 || r.index >= maxIndex || r.exit < 0 || r.signal < 0 || strings.Contains(r.state, " ") {
				t.Errorf("%+v", r)
			}
		}
	})
}

func FuzzParseShow(f *testing.F) {
	f.Add("JobId=8 ArrayJobId=5 ArrayTaskId=0 JobName=sx-e JobState=FAILED ExitCode=3:0 BatchHost=node1 NodeList=node[1-2] StartTime=2026-11-21T22:33:57\n")
	f.Fuzz(func(t *testing.T, out string) {
		for _, r := range parseShow(out) {
			if !arrayID.MatchString(r.array) || r.index < 0 || r.state == "" || r.exit < 0 || r.signal < 0 {
				t.Errorf("%+v", r)
			}
		}
	})
}
