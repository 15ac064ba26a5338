package blueprint

// Resource is the resource of a grant: one part of the deployment, or the secrets
// whose names have one prefix.
type Resource string

// The resources. After "table index" stands the name of an index. After "secrets"
// stands the prefix of names, below the deployment's own prefix.
const (
	Table             Resource = "table"
	DueIndex          Resource = "table index due"
	OwnerIndex        Resource = "table index by_owner"
	UserIndex         Resource = "table index by_user"
	ConnectionSecrets Resource = "secrets connections/"
	PendingSecrets    Resource = "secrets pending/"
	AppSecrets        Resource = "secrets apps/"
	SealingKey        Resource = "secrets sealing-key"
	RefreshMessages   Resource = "queue"
	EventBus          Resource = "bus"
)

// Grant permits a function to call actions on one resource. Actions have the names
// that IAM gives them.
type Grant struct {
	Resource Resource
	Actions  []string
}

// Grants returns exactly the calls that a function makes. A test compares them with
// the code, and finds both a missing and an unneeded one.
func Grants(function string) []Grant {
	switch function {

	// It reads a link and starts an authorization. It cannot read a token.
	case OAuthStart:
		return []Grant{
			{Table, []string{"dynamodb:GetItem", "dynamodb:PutItem"}},
			{AppSecrets, []string{"secretsmanager:GetSecretValue"}},
		}

	// It takes the state, and stores the grants as connections or as a pending
	// consent, or revokes them.
	case OAuthCallback:
		return []Grant{
			{Table, []string{"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}},
			{UserIndex, []string{"dynamodb:Query"}},
			{AppSecrets, []string{"secretsmanager:GetSecretValue"}},
			{PendingSecrets, []string{"secretsmanager:PutSecretValue", "secretsmanager:CreateSecret"}},
			{ConnectionSecrets, []string{"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:CreateSecret", "secretsmanager:DeleteSecret"}},
			{SealingKey, []string{"secretsmanager:GetSecretValue", "secretsmanager:CreateSecret"}},
			{EventBus, []string{"events:PutEvents"}},
		}

	// It reads one connection of an owner and its credentials, and refreshes
	// them if needed. It cannot scan the table.
	case TokenGet:
		return append(refreshGrants(), Grant{OwnerIndex, []string{"dynamodb:Query"}})

	// It queues what is due, and counts connections once an hour. It cannot
	// read a secret.
	case Refresh:
		return []Grant{
			{DueIndex, []string{"dynamodb:Query"}},
			{OwnerIndex, []string{"dynamodb:Scan"}},
			{Table, []string{"dynamodb:UpdateItem"}},
			{RefreshMessages, []string{"sqs:SendMessage"}},
		}

	// It refreshes due connections, ends pending consents that expired, and continues
	// data deletions.
	case RefreshWorker:
		return append(refreshGrants(), Grant{PendingSecrets, []string{"secretsmanager:GetSecretValue", "secretsmanager:DeleteSecret"}})

	// It serves the operator's routes.
	case Connections:
		return []Grant{
			{Table, []string{"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}},
			{OwnerIndex, []string{"dynamodb:Query", "dynamodb:Scan"}},
			{UserIndex, []string{"dynamodb:Query"}},
			{AppSecrets, []string{"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:CreateSecret"}},
			{PendingSecrets, []string{"secretsmanager:GetSecretValue", "secretsmanager:DeleteSecret"}},
			{ConnectionSecrets, []string{"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:CreateSecret", "secretsmanager:DeleteSecret"}},
			{SealingKey, []string{"secretsmanager:GetSecretValue", "secretsmanager:CreateSecret"}},
			{EventBus, []string{"events:PutEvents"}},
		}

	// It marks the connections of the person in a notice, or deletes them with their
	// pending consents. It can delete tokens, and cannot read them.
	case PlatformNotice:
		return []Grant{
			{Table, []string{"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}},
			{UserIndex, []string{"dynamodb:Query"}},
			{AppSecrets, []string{"secretsmanager:GetSecretValue"}},
			{PendingSecrets, []string{"secretsmanager:DeleteSecret"}},
			{ConnectionSecrets, []string{"secretsmanager:DeleteSecret"}},
			{EventBus, []string{"events:PutEvents"}},
		}
	}
	return nil
}

// refreshGrants returns the grants for a refresh of one connection, and for
// revoking a grant that no connection will use.
func refreshGrants() []Grant {
	return []Grant{
		{Table, []string{"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}},
		{UserIndex, []string{"dynamodb:Query"}},
		{AppSecrets, []string{"secretsmanager:GetSecretValue"}},
		{ConnectionSecrets, []string{"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:CreateSecret", "secretsmanager:DeleteSecret"}},
		{SealingKey, []string{"secretsmanager:GetSecretValue", "secretsmanager:CreateSecret"}},
		{EventBus, []string{"events:PutEvents"}},
	}
}
