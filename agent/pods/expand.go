package pods

import "strings"

// expand replaces $(NAME) by the value that lookup has for it. $$ is a $; a name that is not known stays as
// it is written.
func expand(text string, lookup func(name string) (string, bool)) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(text, '$')
		if i < 0 || i+1 == len(text) {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(text[:i])
		switch rest := text[i+1:]; rest[0] {
		case '$':
			b.WriteByte('$')
			text = rest[1:]
		case '(':
			end := strings.IndexByte(rest, ')')
			if end < 0 {
				b.WriteString("$(")
				text = rest[1:]
				continue
			}
			if value, ok := lookup(rest[1:end]); ok {
				b.WriteString(value)
			} else {
				b.WriteString(text[i : i+1+end+1])
			}
			text = rest[end+1:]
		default:
			b.WriteByte('$')
			text = rest
		}
	}
}

func expandAll(texts []string, lookup func(string) (string, bool)) []string {
	var out []string
	for _, text := range texts {
		out = append(out, expand(text, lookup))
	}
	return out
}
