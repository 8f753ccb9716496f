package auth

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// StaticTokens is a fixed set of tokens that never expire. It is read-only once it is in use.
type StaticTokens map[TokenHash]Token

// LookupToken implements TokenLookup.
func (s StaticTokens) LookupToken(_ context.Context, hash TokenHash) (Token, bool, error) {
	token, ok := s[hash]
	return token, ok, nil
}

// ReadTokenFile reads a token file from disk (see ParseTokens). A file that others than its owner
// can read is refused.
func ReadTokenFile(path string) (StaticTokens, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the token file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the token file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("token file %s has mode %#o, so that others can read it: set it to 0600", path, mode)
	}
	tokens, err := ParseTokens(file)
	if err != nil {
		return nil, fmt.Errorf("token file %s: %w", path, err)
	}
	return tokens, nil
}

// ParseTokens reads kube-apiserver's token file format: lines of comma-separated values
//
//	token,user name,user uid,"group1,group2"
//
// where uid and groups may be missing, and a line that starts with # is skipped. Errors name the
// line and never the token.
func ParseTokens(r io.Reader) (StaticTokens, error) {
	reader := csv.NewReader(r)
	reader.FieldsPerRecord = -1
	reader.Comment = '#'
	reader.TrimLeadingSpace = true
	tokens := StaticTokens{}
	for {
		record, err := reader.Read()
		if err == io.EOF {
			return tokens, nil
		}
		if err != nil {
			return nil, err
		}
		line, _ := reader.FieldPos(0)
		token, err := parseToken(record)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if _, twice := tokens[token.Hash]; twice {
			return nil, fmt.Errorf("line %d: its token is on an earlier line too: give each user its own", line)
		}
		tokens[token.Hash] = token
	}
}

func parseToken(record []string) (Token, error) {
	for i := range record {
		record[i] = strings.TrimSpace(record[i])
	}
	if len(record) < 2 || record[0] == "" || record[1] == "" {
		return Token{}, errors.New(`wants token,user or token,user,uid,"group1,group2"`)
	}
	token := Token{Hash: HashToken(record[0]), User: User{Name: record[1]}}
	if len(record) > 2 {
		token.User.UID = record[2]
	}
	if len(record) > 3 {
		for group := range strings.SplitSeq(record[3], ",") {
			if group = strings.TrimSpace(group); group != "" {
				token.User.Groups = append(token.User.Groups, group)
			}
		}
	}
	return token, nil
}
