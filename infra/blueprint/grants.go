package blueprint

// Resource is what a grant is about: one thing of the deployment, or one
// family of secrets by what their names begin with.
type Resource string

// The resources. What follows "table index" is an index's name, what follows
// "secrets" the beginning of names under the deployment's prefix.
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

// Grant lets a function make calls on one resource. Actions are IAM's names
// of the calls.
type Grant struct {
	Resource Resource
	Actions  []string
}

// Grants returns exactly the calls that a function makes. A test holds them
// against the code, so that neither a missing nor a needless one stays.
func Grants(function string) []Grant {
	switch function {

	// Reads a link, opens an authorization. It has no way to a token.
	case OAuthStart:
		return []Grant{
			{Table, []string{"dynamodb:GetItem", "dynamodb:PutItem"}},
			{AppSecrets, []string{"secretsmanager:GetSecretValue"}},
		}

	// Takes the state, keeps what was granted, holds it until it is
	// confirmed, or gives it back.
	case OAuthCallback:
		return []Grant{
			{Table, []string{"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem"}},
			{UserIndex, []string{"dynamodb:Query"}},
			{AppSecrets, []string{"secretsmanager:GetSecretValue"}},
			{PendingSecrets, []string{"secretsmanager:PutSecretValue", "secretsmanager:CreateSecret"}},
			{ConnectionSecrets, []string{"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:CreateSecret", "secretsmanager:DeleteSecret"}},
			{SealingKey, []string{"secretsmanager:GetSecretValue", "secretsmanager:CreateSecret"}},
			{EventBus, []string{"events:PutEvents"}},
		}

	// Finds one connection of an owner and its credentials, and renews them
	// if need be. It cannot go through the table.
	case TokenGet:
		return append(renewal(), Grant{OwnerIndex, []string{"dynamodb:Query"}})

	// Finds what is due and queues it; counts connections once an hour. It
	// has no way to a secret.
	case Refresh:
		return []Grant{
			{DueIndex, []string{"dynamodb:Query"}},
			{OwnerIndex, []string{"dynamodb:Scan"}},
			{Table, []string{"dynamodb:UpdateItem"}},
			{RefreshMessages, []string{"sqs:SendMessage"}},
		}

	// Renews what is due, and ends what nobody confirmed.
	case RefreshWorker:
		return append(renewal(), Grant{PendingSecrets, []string{"secretsmanager:GetSecretValue", "secretsmanager:DeleteSecret"}})

	// Everything that the operator asks for.
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

	// Marks or deletes the connections of the person whom a notice names. It
	// can delete tokens, not read them.
	case PlatformNotice:
		return []Grant{
			{Table, []string{"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem"}},
			{UserIndex, []string{"dynamodb:Query"}},
			{AppSecrets, []string{"secretsmanager:GetSecretValue"}},
			{ConnectionSecrets, []string{"secretsmanager:DeleteSecret"}},
			{EventBus, []string{"events:PutEvents"}},
		}
	}
	return nil
}

// renewal is what it takes to renew the credentials of one connection, and to
// give a grant back that came too late.
func renewal() []Grant {
	return []Grant{
		{Table, []string{"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem"}},
		{UserIndex, []string{"dynamodb:Query"}},
		{AppSecrets, []string{"secretsmanager:GetSecretValue"}},
		{ConnectionSecrets, []string{"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:CreateSecret", "secretsmanager:DeleteSecret"}},
		{SealingKey, []string{"secretsmanager:GetSecretValue", "secretsmanager:CreateSecret"}},
		{EventBus, []string{"events:PutEvents"}},
	}
}
