package cli

import (
	"strings"

	"golang.org/x/sys/windows"
)

// systemLang asks Windows, which sets no LANG.
func systemLang() string {
	names, err := windows.GetUserPreferredUILanguages(windows.MUI_LANGUAGE_NAME)
	if err == nil && len(names) > 0 && strings.HasPrefix(names[0], "ja") {
		return "ja"
	}
	return "en"
}
