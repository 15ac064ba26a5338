package config_test

import (
	"strings"
	"testing"

	"platform-api-connector/shared/config"
)

func TestParse_SecretKMSKeyID(t *testing.T) {
	t.Parallel()
	const id = "01234567-89ab-cdef-0123-456789abcdef"
	for value, good := range map[string]bool{
		"": true, id: true, "alias/connector": true, "mrk-" + strings.Repeat("0", 32): true,
		"arn:aws:kms:eu-west-1:123456789012:key/" + id:        true,
		"arn:aws-cn:kms:cn-north-1:123456789012:alias/secret": true,

		"connector": false, "alias/": false, "key/" + id: false, id + " x": false, strings.ToUpper(id): false,
		"arn:aws:kms:eu-west-1:123456789012:" + id:                false,
		"arn:aws:kms:eu-west-1::key/" + id:                        false,
		"arn:aws:secretsmanager:eu-west-1:123456789012:key/" + id: false,
	} {
		c, err := config.Parse(func(name string) string {
			return map[string]string{
				config.PublicURL: "https://connect.example.com", config.TableName: "table", config.SecretPrefix: "prefix",
				config.RefreshQueueURL: "https://sqs.example.com/queue", config.EventBusName: "bus", config.SecretKMSKeyID: value,
			}[name]
		})
		switch {
		case good && (err != nil || c.SecretKMSKeyID != value):
			t.Errorf("%q: %q, %v", value, c.SecretKMSKeyID, err)
		case !good && (err == nil || !strings.HasPrefix(err.Error(), config.SecretKMSKeyID+": ") || strings.Contains(err.Error(), "\n")):
			t.Errorf("%q: %v, want one line that names the variable", value, err)
		}
	}
}
