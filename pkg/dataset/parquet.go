package dataset

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"sextant/pkg/spec"
)

// readParquet reads flat, list and struct columns. A parquet file that cannot be read is an error, never a panic.
func readParquet(f spec.Files, emit func(int, []byte) error) (err error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return fmt.Errorf("opening dataset file: %w", err)
	}
	defer file.Close()
	defer func() {
		// The library panics on some damaged files, and some types have no JSON.
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: the parquet file is damaged or holds a type that a row cannot: %v", f.Path, p)
		}
	}()
	st, err := file.Stat()
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	pq, err := parquet.OpenFile(file, st.Size())
	if err != nil {
		return fmt.Errorf("%s: not a parquet file: %w", f.Path, err)
	}
	r := parquet.NewGenericReader[any](pq)
	defer r.Close()
	buf := make([]any, 64)
	for row := 0; ; {
		n, err := r.Read(buf)
		for _, v := range buf[:n] {
			clean, err := parquetValue(v)
			if err != nil {
				return fmt.Errorf("%s: %w", where(f.Path, 0, row), err)
			}
			if err := emit(0, mustJSON(clean)); err != nil {
				return err
			}
			row++
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", where(f.Path, 0, row), err)
		}
	}
}

// parquetValue makes a value that JSON can hold. Byte arrays are texts.
func parquetValue(v any) (any, error) {
	switch v := v.(type) {
	case string:
		return v, validText(v)
	case []byte:
		return string(v), validText(string(v))
	case float32:
		return v, finite(float64(v))
	case float64:
		return v, finite(v)
	case []any:
		for i, item := range v {
			clean, err := parquetValue(item)
			if err != nil {
				return nil, fmt.Errorf("item %d: %w", i, err)
			}
			v[i] = clean
		}
		return v, nil
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			clean, err := parquetValue(v[name])
			if err != nil {
				return nil, fmt.Errorf("column %q: %w", name, err)
			}
			v[name] = clean
		}
		return v, nil
	}
	return v, nil
}

func validText(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("invalid UTF-8: the column holds no text")
	}
	return nil
}

func finite(f float64) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("%v is no number that a row can hold", f)
	}
	return nil
}
