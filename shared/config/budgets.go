package config

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/strictjson"
)

// maxBudget is the largest limit of a budget. It is as good as none.
const maxBudget = 1_000_000_000

// parseBudgets reads {"starts_per_link": 30, …}, or nothing. A budget that is not
// named keeps its default.
func parseBudgets(s string) (budgets map[connector.BudgetName]int, problem string) {
	if s == "" {
		return nil, ""
	}
	var values map[string]json.RawMessage
	err := strictjson.Unmarshal([]byte(s), strictjson.Limits{Depth: 2}, &values)
	var refused *strictjson.Error
	switch {
	case errors.As(err, &refused) && refused.Problem == strictjson.Duplicate:
		return nil, strconv.Quote(refused.Field) + " is given twice"
	case err != nil:
		return nil, "not a JSON object of numbers"
	}
	values, problem = trimKeys(values)
	if problem != "" {
		return nil, problem
	}
	budgets = map[connector.BudgetName]int{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(budgetNames(), name) {
			return nil, strconv.Quote(name) + " is not one of " + strings.Join(budgetNames(), ", ")
		}
		limit, err := strconv.Atoi(string(values[name]))
		if err != nil || limit < 0 || limit > maxBudget {
			return nil, name + " is not a whole number from 0 to " + strconv.Itoa(maxBudget)
		}
		budgets[connector.BudgetName(name)] = limit
	}
	return budgets, ""
}

func budgetNames() (names []string) {
	for _, b := range connector.Budgets() {
		names = append(names, string(b.Name))
	}
	return names
}
