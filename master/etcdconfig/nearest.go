package etcdconfig

// longestName bounds what is compared: what is longer is no slip of the hand.
const longestName = 100

// nearest is the name that was probably meant, or none.
func nearest(name string, names []string) string {
	if len(name) > longestName {
		return ""
	}
	best, least := "", len(name)/3+1
	for _, candidate := range names {
		if d := distance(name, candidate); d <= least {
			best, least = candidate, d-1
		}
	}
	return best
}

// distance is how many letters have to be put in, taken out or changed to make one word of another.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		above := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := above
			if a[i] != b[j] {
				change++
			}
			above = row[j+1]
			row[j+1] = min(change, above+1, row[j]+1)
		}
	}
	return row[len(b)]
}
