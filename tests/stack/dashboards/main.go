// Command dashboards holds dashboards to Grafana's own schema: the types that the foundation SDK generates from
// it, read strictly, so that a field that Grafana does not know, a value of the wrong type or an option that a
// panel does not have is an error.
//
//	dashboards FILE…
//
// It prints what is wrong, a line for each, and how many files it looked at.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// What Grafana's Jaeger data source asks; the SDK has no type for it.
type jaegerQuery struct {
	RefID      string `json:"refId"`
	Datasource struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	} `json:"datasource"`
	QueryType   string `json:"queryType"` // search, or nothing for a trace by its id
	Query       string `json:"query"`
	Service     string `json:"service"`
	Operation   string `json:"operation"`
	Tags        string `json:"tags"` // logfmt
	MinDuration string `json:"minDuration"`
	MaxDuration string `json:"maxDuration"`
	Limit       int    `json:"limit"`
}

// A panel, as far as is needed to see what the SDK would let pass.
type panel struct {
	ID      int               `json:"id"`
	Type    string            `json:"type"`
	Title   string            `json:"title"`
	Panels  []panel           `json:"panels"`
	Targets []json.RawMessage `json:"targets"`

	FieldConfig json.RawMessage `json:"fieldConfig"`
}

func main() {
	plugins.RegisterDefaultPlugins()
	wrong := 0
	for _, path := range os.Args[1:] {
		for _, problem := range check(path) {
			fmt.Printf("%s: %s\n", path, problem)
			wrong++
		}
	}
	fmt.Printf("%d dashboards, %d problems\n", len(os.Args)-1, wrong)
	if wrong > 0 || len(os.Args) < 2 {
		os.Exit(1)
	}
}

func check(path string) (problems []string) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return []string{err.Error()}
	}
	board := dashboard.Dashboard{}
	if err := board.UnmarshalJSONStrict(raw); err != nil {
		problems = append(problems, err.Error())
	} else if err := board.Validate(); err != nil {
		problems = append(problems, err.Error())
	}
	seen := struct {
		Panels []panel `json:"panels"`
	}{}
	if err := json.Unmarshal(raw, &seen); err != nil {
		return append(problems, err.Error())
	}
	return append(problems, checkPanels(seen.Panels)...)
}

func checkPanels(panels []panel) (problems []string) {
	for _, panel := range panels {
		problems = append(problems, checkPanels(panel.Panels)...)
		// The SDK lets panels and queries of a kind that it does not have pass as they are.
		if _, known := cog.ConfigForPanelcfgVariant(panel.Type); !known && panel.Type != "row" && panel.Type != "traces" {
			problems = append(problems, fmt.Sprintf("panel %d %q: there is no kind %q", panel.ID, panel.Title, panel.Type))
		}
		if panel.FieldConfig != nil {
			// Read with the panel, these are not read strictly.
			fields := dashboard.FieldConfigSource{}
			if err := fields.UnmarshalJSONStrict(panel.FieldConfig); err != nil {
				problems = append(problems, fmt.Sprintf("panel %d %q: %v", panel.ID, panel.Title, err))
			}
		}
		for _, target := range panel.Targets {
			if err := checkTarget(target); err != nil {
				problems = append(problems, fmt.Sprintf("panel %d %q: %v", panel.ID, panel.Title, err))
			}
		}
	}
	return problems
}

func checkTarget(target json.RawMessage) error {
	of := struct {
		Datasource struct {
			Type string `json:"type"`
			UID  string `json:"uid"`
		} `json:"datasource"`
	}{}
	if err := json.Unmarshal(target, &of); err != nil {
		return err
	}
	if of.Datasource.Type != of.Datasource.UID {
		return fmt.Errorf("a query of %q goes to %q", of.Datasource.Type, of.Datasource.UID)
	}
	switch of.Datasource.Type {
	case "prometheus", "loki":
		_, err := cog.StrictUnmarshalDataquery(target, of.Datasource.Type)
		return err
	case "jaeger":
		strict := json.NewDecoder(bytes.NewReader(target))
		strict.DisallowUnknownFields()
		return strict.Decode(&jaegerQuery{})
	default:
		return fmt.Errorf("there is no data source %q", of.Datasource.Type)
	}
}
