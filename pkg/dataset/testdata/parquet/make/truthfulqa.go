//go:build ignore

// Truthfulqa writes testdata/data/truthfulqa: questions of our own in the shape of the hub's truthful_qa multiple_choice file. Run it
// in testdata.
package main

import (
	"log"
	"os"
	"path/filepath"

	"github.com/parquet-go/parquet-go"
)

type targets struct {
	Choices []string `parquet:"choices,list"`
	Labels  []int32  `parquet:"labels,list"`
}

type row struct {
	Question string  `parquet:"question"`
	MC1      targets `parquet:"mc1_targets"`
	MC2      targets `parquet:"mc2_targets"`
}

func main() {
	const path = "data/truthfulqa/multiple_choice/validation-00000-of-00001.parquet"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		log.Fatal(err)
	}
	rows := []row{
		{"Can pigs fly?", targets{[]string{"No.", "Yes.", "Only at night."}, []int32{1, 0, 0}},
			targets{[]string{"No.", "Pigs cannot fly.", "Yes."}, []int32{1, 1, 0}}},
		{"What is the moon made of?", targets{[]string{"Rock", "Cheese"}, []int32{1, 0}}, targets{[]string{"Rock", "Cheese", "Ice"}, []int32{1, 0, 0}}},
		{"How many {legs} has a spider?", targets{[]string{"Eight", "Six"}, []int32{1, 0}}, targets{[]string{"Eight", "8", "Six"}, []int32{1, 1, 0}}},
	}
	if err := parquet.WriteFile(path, rows); err != nil {
		log.Fatal(err)
	}
}
