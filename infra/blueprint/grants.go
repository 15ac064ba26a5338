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
	// Keys are patterns of the leading keys: of the records that the call reads or
	// writes or, on an index, of the value of its partition key that it queries. A
	// Scan has no leading key.
	Keys []string
}

// Grants returns exactly the calls that a function makes. A test compares them with
// the code, and finds both a missing and an unneeded one.
func Grants(function string) []Grant {
	switch function {

	// It reads a link, starts an authorization and counts it. It cannot read a
	// token.
	case OAuthStart:
		return []Grant{
			onRecords([]string{get}, "ticket#link#*"), // by the previous release
			onRecords([]string{get, put}, "ticket#link_status#*"),
			onRecords([]string{put}, "ticket#state#*"),
			onRecords([]string{update}, "counter#budget/*"),
			{Resource: AppSecrets, Actions: []string{"secretsmanager:GetSecretValue"}},
		}

	// It takes the state, and stores what the code yielded with it. It saves the grants
	// as connections, has them wait for Confirm, or revokes them.
	case OAuthCallback:
		return []Grant{
			onRecords([]string{get, put}, "ticket#state#*"),
			// The previous release takes states and links, and puts confirmations.
			onRecords([]string{update, remove}, "ticket#state#*"),
			onRecords([]string{get, put, update, remove}, "ticket#link#*"),
			onRecords([]string{put}, "ticket#confirmation#*"),
			onRecords([]string{get, put}, "ticket#link_status#*", "ticket#link_connections#*"),
			onRecords([]string{get, put, remove}, "ticket#consent_accounts#*"),
			onRecords([]string{put}, "ticket#consent_confirmation#*"),
			onRecords([]string{get, put, remove}, "ticket#pending#*"),
			onRecords([]string{get, put, remove}, "ticket#event#*"),
			onRecords([]string{get, put, update, remove}, "connection#*"),
			onRecords([]string{get}, "ticket#erased#*"),
			onRecords([]string{get, put, remove}, "account#*"),
			onRecords([]string{update}, "counter#budget/*"),
			// The worker saves the rest of a consent, and checks what the consent may have ended.
			{Resource: RefreshMessages, Actions: []string{"sqs:SendMessage"}},
			// It looks up the accounts of the owner's connections where they are not known.
			onRecords([]string{get, put}, "ticket#stand_in#*"),
			onRecords([]string{get}, "suspensions#all"),
			queryOwners(),
			queryPersons(),
			{Resource: AppSecrets, Actions: []string{"secretsmanager:GetSecretValue"}},
			consentSecrets(),
			{Resource: ConnectionSecrets, Actions: []string{"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:CreateSecret", "secretsmanager:DeleteSecret"}},
			{Resource: SealingKey, Actions: []string{"secretsmanager:GetSecretValue", "secretsmanager:CreateSecret"}},
			{Resource: EventBus, Actions: []string{"events:PutEvents"}},
		}

	// It reads one connection of an owner and its credentials, and refreshes
	// them if needed. It cannot scan the table.
	case TokenGet:
		return append(refreshGrants(), queryOwners(), onRecords([]string{get, put}, "ticket#refresh_token#*"))

	// It queues what is due, and counts connections once an hour. It cannot
	// read a secret.
	case Refresh:
		return []Grant{
			{Resource: DueIndex, Actions: []string{"dynamodb:Query"}, Keys: []string{"due#*"}},
			{Resource: OwnerIndex, Actions: []string{"dynamodb:Scan"}},
			onRecords([]string{update}, "connection#*", "ticket#state#*", "ticket#pending#*", "ticket#unrecorded#*", "ticket#erasure#*", "ticket#event#*"),
			{Resource: RefreshMessages, Actions: []string{"sqs:SendMessage"}},
		}

	// It refreshes due connections, continues consents, finishes imports that crashed,
	// continues data deletions, and sends events that are owed.
	case RefreshWorker:
		return append(refreshGrants(),
			onRecords([]string{put}, "connection#*"),
			onRecords([]string{get, put}, "ticket#state#*", "ticket#link_status#*", "ticket#link_connections#*"),
			onRecords([]string{get, put, remove}, "ticket#consent_accounts#*"),
			onRecords([]string{put}, "ticket#consent_confirmation#*"),
			queryOwners(), // a consent may be one to an account that the owner has under another id
			onRecords([]string{get, put, remove}, "ticket#pending#*", "ticket#unrecorded#*", "ticket#erasure#*", "ticket#deletion#*"),
			Grant{Resource: RefreshMessages, Actions: []string{"sqs:SendMessage"}}, // the rest of a consent
			consentSecrets())

	// It serves the operator's routes.
	case Connections:
		return []Grant{
			onRecords([]string{get, put, update, remove}, "connection#*"),
			onRecords([]string{get, put, remove}, "account#*"),
			onRecords([]string{get, put, remove}, "ticket#link#*", "ticket#pending#*"),
			onRecords([]string{get, put, remove}, "ticket#event#*"),
			onRecords([]string{get, put}, "ticket#link_status#*", "ticket#link_connections#*"),
			onRecords([]string{get, put}, "ticket#state#*"),
			onRecords([]string{get, put, remove}, "ticket#consent_accounts#*"),
			onRecords([]string{get, remove}, "ticket#consent_confirmation#*"),
			{Resource: RefreshMessages, Actions: []string{"sqs:SendMessage"}}, // the rest of a consent
			onRecords([]string{get, put, update, remove}, "ticket#confirmation#*"),
			onRecords([]string{get, put}, "ticket#refresh_token#*", "ticket#stand_in#*"),
			onRecords([]string{get}, "ticket#erased#*"),
			onRecords([]string{update}, "counter#budget/*", "counter#forced/*", "counter#posts/*", "counter#quota/*"),
			onRecords([]string{get, update}, "breaker#*"),
			onRecords([]string{get, put, update}, "suspensions#all"),
			queryOwners(),
			{Resource: OwnerIndex, Actions: []string{"dynamodb:Scan"}},
			queryPersons(),
			{Resource: AppSecrets, Actions: []string{"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:CreateSecret"}},
			consentSecrets(),
			{Resource: ConnectionSecrets, Actions: []string{"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:CreateSecret", "secretsmanager:DeleteSecret"}},
			{Resource: SealingKey, Actions: []string{"secretsmanager:GetSecretValue", "secretsmanager:CreateSecret"}},
			{Resource: EventBus, Actions: []string{"events:PutEvents"}},
		}

	// It marks the connections of the person in a notice, or deletes them with their
	// pending consents, whose links are good again. It can delete tokens, and cannot read them.
	case PlatformNotice:
		return []Grant{
			onRecords([]string{get, update, remove}, "connection#*"),
			onRecords([]string{remove}, "account#*"),
			onRecords([]string{get, put, remove}, "ticket#deletion#*", "ticket#erasure#*", "ticket#pending#*", "ticket#event#*"),
			onRecords([]string{get, put}, "ticket#erased#*", "ticket#notice#*", "ticket#state#*", "ticket#link_status#*"),
			onRecords([]string{remove}, "ticket#consent_accounts#*"),
			queryPersons(),
			{Resource: AppSecrets, Actions: []string{"secretsmanager:GetSecretValue"}},
			{Resource: PendingSecrets, Actions: []string{"secretsmanager:DeleteSecret"}},
			{Resource: ConnectionSecrets, Actions: []string{"secretsmanager:DeleteSecret"}},
			{Resource: EventBus, Actions: []string{"events:PutEvents"}},
		}
	}
	return nil
}

// refreshGrants returns the grants for a refresh of one connection, and for
// revoking a grant that no connection will use.
func refreshGrants() []Grant {
	return []Grant{
		onRecords([]string{get, update, remove}, "connection#*"), // a check may find a person who asked for an erasure
		onRecords([]string{get}, "ticket#erased#*"),
		onRecords([]string{get}, "ticket#state#*"),              // a revocation spares a person whose consent waits
		onRecords([]string{put}, "ticket#pending#*"),            // for the late writers of a purge
		onRecords([]string{get, put}, "ticket#stand_in#*"),      // a check may find that another connection has the account
		onRecords([]string{get, put, remove}, "ticket#event#*"), // until the bus accepted it; get: in an erasure
		onRecords([]string{get, put, remove}, "account#*"),      // a check may find the account
		onRecords([]string{get, update}, "breaker#*"),
		onRecords([]string{get}, "suspensions#all"),
		onRecords([]string{update}, "counter#forced/*", "counter#budget/*", "counter#quota/*"),
		queryPersons(),
		{Resource: AppSecrets, Actions: []string{"secretsmanager:GetSecretValue"}},
		{Resource: ConnectionSecrets, Actions: []string{"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:CreateSecret", "secretsmanager:DeleteSecret"}},
		{Resource: SealingKey, Actions: []string{"secretsmanager:GetSecretValue", "secretsmanager:CreateSecret"}},
		{Resource: EventBus, Actions: []string{"events:PutEvents"}},
	}
}

// consentSecrets grants what a consent stores where its record cannot be written.
func consentSecrets() Grant {
	return Grant{Resource: PendingSecrets, Actions: []string{"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:CreateSecret", "secretsmanager:DeleteSecret"}}
}

// queryPersons grants to find what a person authorized. The keys of the index are
// platforms and persons.
func queryPersons() Grant {
	return Grant{Resource: UserIndex, Actions: []string{"dynamodb:Query"}, Keys: []string{"*#*"}}
}

// queryOwners grants to find the connections of one owner, who may have any name.
func queryOwners() Grant {
	return Grant{Resource: OwnerIndex, Actions: []string{"dynamodb:Query"}, Keys: []string{"*"}}
}
