package app

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// fromEnv overrides fields whose environment variable is set.
func (c *Config) fromEnv(getenv func(string) string) error {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("env")
		text := getenv(name)
		if text == "" {
			continue
		}
		if err := setField(v.Field(i), text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func setField(f reflect.Value, text string) error {
	switch p := f.Addr().Interface().(type) {
	case *string:
		*p = text
	case *[]string:
		*p = SplitRoles(text)
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return err
		}
		*p = d
	default:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return err
		}
		f.SetInt(n)
	}
	return nil
}

// Annotated gives the configuration as the YAML file that would produce it, every key with its meaning and its environment
// variable.
func (c *Config) Annotated() string {
	var b strings.Builder
	b.WriteString("# Kenkyo configuration. Unknown keys are refused. The environment variable named beside a key wins over this file.\n")
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		fmt.Fprintf(&b, "\n# %s (%s)\n%s: %s\n", tag.Get("doc"), tag.Get("env"), tag.Get("yaml"), yamlValue(v.Field(i)))
	}
	return b.String()
}

func yamlValue(f reflect.Value) string {
	switch v := f.Interface().(type) {
	case string:
		return strconv.Quote(v)
	case []string:
		return "[" + strings.Join(v, ", ") + "]"
	case time.Duration:
		return v.String()
	}
	return fmt.Sprint(f.Interface())
}
