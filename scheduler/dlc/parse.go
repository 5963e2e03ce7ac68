package dlc

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"sextant/scheduler/batch"
)

var createdID = regexp.MustCompile(`(?m)^\s*\|\s*(dlc[0-9a-z][0-9a-z-]*)\s*\|`)

// parseCreated finds the id of a new job in what dlc said: the request as JSON, and a table of JobId and RequestId.
func parseCreated(text string) (id string, ok bool) {
	if m := createdID.FindStringSubmatch(text); m != nil {
		return m[1], true
	}
	var made struct{ JobID string }
	if decode(text, &made) == nil && strings.HasPrefix(made.JobID, "dlc") {
		return made.JobID, true
	}
	return "", false
}

// row is a job in a list.
type row struct {
	ID, Name, Status, Created string
}

// detail is what DLC tells of one job.
type detail struct {
	JobID          string `json:"JobId"`
	DisplayName    string
	Status         string
	ReasonCode     string
	ReasonMessage  string
	GmtCreateTime  string
	GmtRunningTime string
	GmtFinishTime  string
	Pods           []struct {
		PodID string `json:"PodId"`
	}
}

// parseDetail reads what dlc get job ID says: JSON, before which a version may say something.
func parseDetail(text string) (detail, error) {
	var d detail
	if err := decode(text, &d); err != nil {
		return d, err
	}
	if d.Status == "" {
		return d, fmt.Errorf("there is no Status in it")
	}
	return d, nil
}

// decode reads the first JSON value that begins a line of the text.
func decode(text string, to any) error {
	at := -1
	for i := 0; i < len(text); i++ {
		if (i == 0 || text[i-1] == '\n') && (text[i] == '{' || text[i] == '[' && !strings.HasPrefix(text[i:], "[OK]") &&
			!strings.HasPrefix(text[i:], "[FAILED]") && !strings.HasPrefix(text[i:], "[WARN]")) {
			at = i
			break
		}
	}
	if at < 0 {
		return fmt.Errorf("there is no JSON in it: %q", batch.OneLine(text))
	}
	if err := json.NewDecoder(strings.NewReader(text[at:])).Decode(to); err != nil {
		return fmt.Errorf("reading its JSON: %w", err)
	}
	return nil
}

// columns are the names that the columns of the list have had.
var columns = map[string]func(*row) *string{
	"jobid":       func(r *row) *string { return &r.ID },
	"name":        func(r *row) *string { return &r.Name },
	"displayname": func(r *row) *string { return &r.Name },
	"jobname":     func(r *row) *string { return &r.Name },
	"jobstatus":   func(r *row) *string { return &r.Status },
	"status":      func(r *row) *string { return &r.Status },
	"createtime":  func(r *row) *string { return &r.Created },
}

// parseList reads a list of jobs: a table, whose cells may go on in the next line, or JSON where a list of one is the job itself. rows is how
// many jobs it has, by which a page is seen to be full; an empty list is none.
func parseList(text string) ([]row, error) {
	if !strings.Contains(text, "|") || strings.HasPrefix(strings.TrimSpace(text), "{") {
		return parseJSONList(text)
	}
	var rows []row
	var heads []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || !strings.HasSuffix(line, "|") || len(line) < 2 {
			continue
		}
		cells := strings.Split(line[1:len(line)-1], "|")
		if heads == nil {
			for _, c := range cells {
				heads = append(heads, strings.ToLower(strings.ReplaceAll(strings.TrimSpace(c), " ", "")))
			}
			continue
		}
		if len(cells) != len(heads) {
			continue
		}
		var r row
		for i, c := range cells {
			if at := columns[heads[i]]; at != nil {
				*at(&r) = strings.TrimSpace(c)
			}
		}
		if last := len(rows) - 1; r.ID == "" && last >= 0 {
			above := &rows[last]
			above.Name, above.Status, above.Created = above.Name+r.Name, above.Status+r.Status, above.Created+r.Created
		} else if r.ID != "" {
			rows = append(rows, r)
		}
	}
	if heads == nil {
		return nil, fmt.Errorf("there is no table in it: %q", batch.OneLine(text))
	}
	return rows, nil
}

func parseJSONList(text string) ([]row, error) {
	t := strings.ToLower(strings.TrimSpace(text))
	if t == "" || !strings.Contains(t, "{") && (strings.HasPrefix(t, "[ok]") || strings.Contains(t, "no job")) {
		return nil, nil
	}
	var many struct{ Jobs []detail }
	if err := decode(text, &many); err != nil {
		return nil, err
	}
	if many.Jobs == nil {
		one, err := parseDetail(text)
		if err != nil {
			return nil, err
		}
		many.Jobs = []detail{one}
	}
	var rows []row
	for _, d := range many.Jobs {
		rows = append(rows, row{ID: d.JobID, Name: d.DisplayName, Status: d.Status, Created: d.GmtCreateTime})
	}
	return rows, nil
}

// parseTime reads DLC's times; one that is not there is zero.
func parseTime(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return t
}
