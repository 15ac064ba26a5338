package main

import (
	"slices"
	"strings"
	"testing"

	"platform-api-connector/infra/blueprint"
)

// TestNewStack_SecretTrap evaluates the rule's pattern over reads as CloudTrail
// reports them.
func TestNewStack_SecretTrap(t *testing.T) {
	both(t, func(t *testing.T, s template) {
		_, rule := s.the(t, "AWS::Events::Rule", "SecretTrap")
		if got := text(rule.Properties["State"]); got != "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS" {
			t.Errorf("the rule's state is %s: it receives no read-only event", got)
		}
		if got := rule.Properties["EventBusName"]; got != nil {
			t.Errorf("the rule is on the bus %v, want the default one", got)
		}
		pattern := resolvedPattern(rule.Properties["EventPattern"])
		details := pattern.(map[string]any)["detail"].(map[string]any)
		prefixes := details["requestParameters"].(map[string]any)["secretId"].([]any)
		name := prefixes[0].(map[string]any)["prefix"].(string)
		arn := prefixes[1].(map[string]any)["prefix"].(string)
		if !strings.HasPrefix(arn, "arn:") || !strings.HasSuffix(arn, ":secret:"+name) {
			t.Errorf("the ARNs begin with %q, and the names with %q", arn, name)
		}
		_, function := s.function(t, blueprint.TokenGet)
		role := text(function.Properties["Role"])

		session := func(issuer string) map[string]any {
			return map[string]any{"type": "AssumedRole", "sessionContext": map[string]any{"sessionIssuer": map[string]any{"arn": issuer}}}
		}
		read := func(secret string, who map[string]any) map[string]any {
			return map[string]any{
				"source": "aws.secretsmanager", "detail-type": "AWS API Call via CloudTrail",
				"detail": map[string]any{
					"eventSource": "secretsmanager.amazonaws.com", "eventName": "GetSecretValue",
					"requestParameters": map[string]any{"secretId": secret}, "userIdentity": who,
				},
			}
		}
		other := read(name+"connections/1", session("arn:aws:iam::123456789012:role/Admin"))
		other["detail"].(map[string]any)["eventName"] = "DescribeSecret"
		for situation, row := range map[string]struct {
			event map[string]any
			rings bool
		}{
			"function":                {read(name+"connections/1", session(role)), false},
			"function by ARN":         {read(arn+"connections/1-AbCdEf", session(role)), false},
			"administrator by name":   {read(name+"connections/1", session("arn:aws:iam::123456789012:role/Admin")), true},
			"administrator by ARN":    {read(arn+"apps/youtube-AbCdEf", session("arn:aws:iam::123456789012:role/Admin")), true},
			"role named alike":        {read(name+"connections/1", session(role+"2")), true},
			"IAM user":                {read(name+"connections/1", map[string]any{"type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/eve"}), true},
			"root user":               {read(name+"sealing-key", map[string]any{"type": "Root"}), true},
			"secret of another stack": {read("other/"+name+"connections/1", session("arn:aws:iam::123456789012:role/Admin")), false},
			"another call":            {other, false},
			"user with MFA": {read(name+"connections/1", map[string]any{
				"type": "IAMUser", "sessionContext": map[string]any{"attributes": map[string]any{"mfaAuthenticated": "true"}},
			}), true},
			"federated user":                  {read(name+"connections/1", session("arn:aws:iam::123456789012:user/eve")), true},
			"account that is not ours":        {read(arn+"connections/1-AbCdEf", map[string]any{"type": "AWSAccount", "accountId": "210987654321"}), true},
			"role of the name, elsewhere":     {read(name+"connections/1", session(strings.Replace(role, "{", "{Other", 1))), true},
			"prefix without its slash":        {read(strings.TrimSuffix(name, "/")+"2/connections/1", session("arn:aws:iam::123456789012:role/Admin")), false},
			"refused read of the sealing key": {refused(read(name+"sealing-key", session("arn:aws:iam::123456789012:role/Admin"))), true},
		} {
			if got := matchesPattern(pattern, row.event); got != row.rings {
				t.Errorf("%s: rings %t, want %t", situation, got, row.rings)
			}
		}
	})
}

// refused returns an event of a call that IAM denied.
func refused(event map[string]any) map[string]any {
	event["detail"].(map[string]any)["errorCode"] = "AccessDenied"
	return event
}

// The rule can publish to the topic. EventBridge sends none of the keys that a
// condition could compare, so a statement with a condition allows nothing.
func TestNewStack_SecretTrapMayPublish(t *testing.T) {
	both(t, func(t *testing.T, s template) {
		topic, _ := s.the(t, "AWS::SNS::Topic", "Alarms")
		for _, policy := range s.of("AWS::SNS::TopicPolicy") {
			for _, statement := range policy.statements(t) {
				service := text(at(statement.Principal, "Service"))
				if service == "events.amazonaws.com" && statement.Effect == "Allow" && slices.Contains(texts(statement.Action), "sns:Publish") &&
					slices.Contains(texts(statement.Resource), "{"+topic+"}") && conditionHolds(t, statement.Condition, nil) {
					return
				}
			}
		}
		t.Error("EventBridge may not publish to the topic")
	})
}

// resolvedPattern returns a part of a template with each reference as its text.
func resolvedPattern(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for _, function := range []string{"Ref", "Fn::GetAtt", "Fn::Join"} {
			if value[function] != nil && len(value) == 1 {
				return strings.NewReplacer("{AWS::Partition}", "aws").Replace(text(value))
			}
		}
		resolved := map[string]any{}
		for name, part := range value {
			resolved[name] = resolvedPattern(part)
		}
		return resolved
	case []any:
		var resolved []any
		for _, part := range value {
			resolved = append(resolved, resolvedPattern(part))
		}
		return resolved
	}
	return value
}

// matchesPattern reports whether EventBridge would match the event, as far as the
// rules of this stack use its patterns:
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
func matchesPattern(pattern, event any) bool {
	rules, ok := pattern.(map[string]any)
	if !ok {
		return matchesAny(pattern.([]any), event)
	}
	fields, _ := event.(map[string]any)
	for name, rule := range rules {
		if name == "$or" {
			matched := false
			for _, alternative := range rule.([]any) {
				matched = matched || matchesPattern(alternative, event)
			}
			if !matched {
				return false
			}
		} else if !matchesPattern(rule, fields[name]) {
			return false
		}
	}
	return true
}

// matchesAny reports whether one of the matches accepts a value, which is nil where
// the event has none.
func matchesAny(matches []any, value any) bool {
	for _, match := range matches {
		operator, ok := match.(map[string]any)
		if !ok {
			if match == value {
				return true
			}
			continue
		}
		got, isText := value.(string)
		for name, argument := range operator {
			switch name {
			case "prefix":
				if isText && strings.HasPrefix(got, argument.(string)) {
					return true
				}
			case "exists":
				if (value != nil) == argument.(bool) {
					return true
				}
			case "anything-but":
				if isText && !matchesAny(argument.([]any), value) {
					return true
				}
			default:
				panic("no operator " + name)
			}
		}
	}
	return false
}
