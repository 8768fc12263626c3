//go:build !windows

package cli

// systemLang is English where the environment names no language.
func systemLang() string { return "en" }
