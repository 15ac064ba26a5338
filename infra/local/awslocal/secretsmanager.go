package awslocal

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"
)

type secretsManager struct {
	now func() time.Time
	ids *idSource

	mu      sync.Mutex
	secrets map[string]*secret // by name
}

type secret struct {
	name, arn, description string
	kmsKeyID               string // stored only: nothing is encrypted
	created, changed       time.Time
	// deleteAt is the end of the recovery window, or zero if the secret is not deleted.
	deletedAt, deleteAt time.Time
	versions            []*secretVersion
}

type secretVersion struct {
	id      string
	text    *string
	binary  []byte
	stages  []string
	created time.Time
}

func newSecretsManager(now func() time.Time, ids *idSource) *secretsManager {
	return &secretsManager{now: now, ids: ids, secrets: map[string]*secret{}}
}

func (s *secretsManager) service() service {
	return service{
		contentType: "application/x-amz-json-1.1",
		operations: map[string]operation{
			"CreateSecret":             handle(s.createSecret),
			"PutSecretValue":           handle(s.putSecretValue),
			"GetSecretValue":           handle(s.getSecretValue),
			"DescribeSecret":           handle(s.describeSecret),
			"ListSecrets":              handle(s.listSecrets),
			"UpdateSecretVersionStage": handle(s.updateSecretVersionStage),
			"DeleteSecret":             handle(s.deleteSecret),
			"RestoreSecret":            handle(s.restoreSecret),
		},
	}
}

// find returns a secret by its name, its ARN, or its ARN without the random suffix.
// The caller must hold the mutex.
func (s *secretsManager) find(id string) (*secret, error) {
	for name, found := range s.secrets {
		if !found.deleteAt.IsZero() && !s.now().Before(found.deleteAt) {
			delete(s.secrets, name)
			continue
		}
		if name == id || found.arn == id || found.arn[:len(found.arn)-7] == id {
			return found, nil
		}
	}
	return nil, refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

// findLive returns a secret that was not deleted.
func (s *secretsManager) findLive(id string) (*secret, error) {
	found, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if !found.deletedAt.IsZero() {
		return nil, refuse("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
	}
	return found, nil
}

func (s *secret) version(id string) *secretVersion {
	for _, v := range s.versions {
		if v.id == id {
			return v
		}
	}
	return nil
}

func (s *secret) staged(stage string) *secretVersion {
	for _, v := range s.versions {
		if slices.Contains(v.stages, stage) {
			return v
		}
	}
	return nil
}

// move moves a stage from the version that has it to v, which may be nil.
// The version that loses AWSCURRENT becomes AWSPREVIOUS.
func (s *secret) move(stage string, v *secretVersion) {
	if old := s.staged(stage); old != nil {
		old.stages = slices.DeleteFunc(old.stages, func(have string) bool { return have == stage })
		if stage == current && old != v {
			s.move(previous, old)
		}
	}
	if v != nil {
		v.stages = append(v.stages, stage)
	}
}

var secretName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,512}$`)

type secretValue struct {
	ClientRequestToken string
	SecretString       *string
	SecretBinary       []byte
}

func (v secretValue) empty() bool { return v.SecretString == nil && v.SecretBinary == nil }

func (v secretValue) equal(stored *secretVersion) bool {
	return (v.SecretString == nil) == (stored.text == nil) &&
		(v.SecretString == nil || *v.SecretString == *stored.text) &&
		string(v.SecretBinary) == string(stored.binary)
}

const maxSecret = 65536

func (v secretValue) check() error {
	switch {
	case v.SecretString != nil && v.SecretBinary != nil:
		return refuse("InvalidParameterException", "You can't specify both a binary secret value and a string secret value.")
	case v.SecretString != nil && (*v.SecretString == "" || len(*v.SecretString) > maxSecret), len(v.SecretBinary) > maxSecret:
		return refuse("ValidationException", "a secret value must have 1 to %d bytes", maxSecret)
	case v.ClientRequestToken != "" && !validToken(v.ClientRequestToken):
		return refuse("InvalidParameterException", "ClientRequestToken must be 32-64 characters long.")
	}
	return nil
}

func validToken(token string) bool { return len(token) >= 32 && len(token) <= 64 }

// add creates a version of v. For a token that was used with the same value, it
// returns the version that exists.
func (s *secretsManager) add(to *secret, v secretValue, stages []string) (*secretVersion, error) {
	if v.ClientRequestToken == "" {
		v.ClientRequestToken = s.ids.uuid()
	}
	if made := to.version(v.ClientRequestToken); made != nil {
		if !v.equal(made) {
			return nil, refuse("ResourceExistsException", "You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", v.ClientRequestToken, to.arn)
		}
		return made, nil
	}
	made := &secretVersion{id: v.ClientRequestToken, text: v.SecretString, binary: v.SecretBinary, created: s.now()}
	to.versions = append(to.versions, made)
	for _, stage := range stages {
		to.move(stage, made)
	}
	to.changed = s.now()
	return made, nil
}

type createSecretInput struct {
	secretValue
	Name        string
	Description string
	KMSKeyID    string `json:"KmsKeyId"`
}

type secretVersionOutput struct {
	ARN           string
	Name          string
	VersionID     string   `json:"VersionId,omitempty"`
	VersionStages []string `json:",omitempty"`
}

func (s *secretsManager) createSecret(input createSecretInput) (secretVersionOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !secretName.MatchString(input.Name) {
		return secretVersionOutput{}, refuse("ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	}
	if err := input.check(); err != nil {
		return secretVersionOutput{}, err
	}
	if made, err := s.find(input.Name); err == nil {
		return s.createAgain(made, input)
	}
	made := &secret{
		name: input.Name, description: input.Description, kmsKeyID: input.KMSKeyID, created: s.now(), changed: s.now(),
		arn: "arn:aws:secretsmanager:" + region + ":" + accountID + ":secret:" + input.Name + "-" + s.ids.hex(3),
	}
	s.secrets[made.name] = made
	output := secretVersionOutput{ARN: made.arn, Name: made.name}
	if input.empty() {
		return output, nil
	}
	version, err := s.add(made, input.secretValue, []string{current})
	if err != nil {
		return secretVersionOutput{}, err
	}
	output.VersionID = version.id
	return output, nil
}

// createAgain answers CreateSecret for a name that exists. The same request a second
// time is not an error.
func (s *secretsManager) createAgain(made *secret, input createSecretInput) (secretVersionOutput, error) {
	if !made.deletedAt.IsZero() {
		return secretVersionOutput{}, refuse("InvalidRequestException", "You can't create this secret because a secret with this name is already scheduled for deletion.")
	}
	if v := made.version(input.ClientRequestToken); v != nil && input.equal(v) {
		return secretVersionOutput{ARN: made.arn, Name: made.name, VersionID: v.id}, nil
	}
	return secretVersionOutput{}, refuse("ResourceExistsException", "The operation failed because the secret %s already exists.", input.Name)
}

type putSecretValueInput struct {
	secretValue
	SecretID      string `json:"SecretId"`
	VersionStages []string
}

func (s *secretsManager) putSecretValue(input putSecretValueInput) (secretVersionOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := input.check(); err != nil {
		return secretVersionOutput{}, err
	}
	if input.empty() {
		return secretVersionOutput{}, refuse("InvalidRequestException", "You must provide either SecretString or SecretBinary.")
	}
	found, err := s.findLive(input.SecretID)
	if err != nil {
		return secretVersionOutput{}, err
	}
	if len(input.VersionStages) == 0 {
		input.VersionStages = []string{current}
	}
	v, err := s.add(found, input.secretValue, input.VersionStages)
	if err != nil {
		return secretVersionOutput{}, err
	}
	return secretVersionOutput{ARN: found.arn, Name: found.name, VersionID: v.id, VersionStages: slices.Clone(v.stages)}, nil
}

type getSecretValueInput struct {
	SecretID     string `json:"SecretId"`
	VersionID    string `json:"VersionId"`
	VersionStage string
}

type getSecretValueOutput struct {
	secretVersionOutput
	SecretString *string `json:",omitempty"`
	SecretBinary []byte  `json:",omitempty"`
	CreatedDate  epoch
}

func (s *secretsManager) getSecretValue(input getSecretValueInput) (getSecretValueOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if input.VersionID != "" && !validToken(input.VersionID) {
		return getSecretValueOutput{}, refuse("InvalidParameterException", "VersionId must be 32-64 characters long.")
	}
	found, err := s.findLive(input.SecretID)
	if err != nil {
		return getSecretValueOutput{}, err
	}
	v, err := found.pick(input.VersionID, input.VersionStage)
	if err != nil {
		return getSecretValueOutput{}, err
	}
	return getSecretValueOutput{
		secretVersionOutput: secretVersionOutput{ARN: found.arn, Name: found.name, VersionID: v.id, VersionStages: slices.Clone(v.stages)},
		SecretString:        v.text, SecretBinary: v.binary, CreatedDate: epoch(v.created),
	}, nil
}

func (s *secret) pick(id, stage string) (*secretVersion, error) {
	if id == "" {
		if stage == "" {
			stage = current
		}
		if v := s.staged(stage); v != nil {
			return v, nil
		}
		return nil, refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: %s", stage)
	}
	v := s.version(id)
	if v == nil {
		return nil, refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: %s", id)
	}
	if stage != "" && !slices.Contains(v.stages, stage) {
		return nil, refuse("InvalidRequestException", "You provided a VersionStage that is not associated to the provided VersionId.")
	}
	return v, nil
}

type secretIDInput struct {
	SecretID string `json:"SecretId"`
}

type secretDescription struct {
	ARN                string
	Name               string
	Description        string              `json:",omitempty"`
	KMSKeyID           string              `json:"KmsKeyId,omitempty"`
	VersionIDsToStages map[string][]string `json:"VersionIdsToStages,omitempty"`
	CreatedDate        epoch
	LastChangedDate    epoch
	DeletedDate        *epoch `json:",omitempty"`
}

func (s *secret) describe() secretDescription {
	d := secretDescription{
		ARN: s.arn, Name: s.name, Description: s.description, KMSKeyID: s.kmsKeyID, VersionIDsToStages: map[string][]string{},
		CreatedDate: epoch(s.created), LastChangedDate: epoch(s.changed), DeletedDate: epochOrNil(s.deletedAt),
	}
	for _, v := range s.versions {
		if len(v.stages) > 0 {
			d.VersionIDsToStages[v.id] = slices.Clone(v.stages)
		}
	}
	return d
}

func (s *secretsManager) describeSecret(input secretIDInput) (secretDescription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, err := s.find(input.SecretID)
	if err != nil {
		return secretDescription{}, err
	}
	return found.describe(), nil
}

type listSecretsInput struct {
	MaxResults             int
	NextToken              string
	IncludePlannedDeletion bool
	Filters                []struct {
		Key    string
		Values []string
	}
}

type listSecretsOutput struct {
	SecretList []secretDescription
	NextToken  string `json:",omitempty"`
}

// listSecrets pages by name. The token is the last name of the previous page.
func (s *secretsManager) listSecrets(input listSecretsInput) (listSecretsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, filter := range input.Filters {
		if filter.Key != "name" {
			return listSecretsOutput{}, refuse("InvalidParameterException", "the local stand-in filters secrets by name only, not by %s", filter.Key)
		}
	}
	if input.MaxResults == 0 {
		input.MaxResults = 100
	}
	output := listSecretsOutput{SecretList: []secretDescription{}}
	for _, name := range slices.Sorted(maps.Keys(s.secrets)) {
		found, err := s.find(name)
		if err != nil || name <= input.NextToken || !input.selects(found) {
			continue
		}
		if len(output.SecretList) == input.MaxResults {
			output.NextToken = output.SecretList[input.MaxResults-1].Name
			break
		}
		output.SecretList = append(output.SecretList, found.describe())
	}
	return output, nil
}

func (i listSecretsInput) selects(s *secret) bool {
	if !s.deletedAt.IsZero() && !i.IncludePlannedDeletion {
		return false
	}
	for _, filter := range i.Filters {
		if !slices.ContainsFunc(filter.Values, func(prefix string) bool { return strings.HasPrefix(s.name, prefix) }) {
			return false
		}
	}
	return true
}

type updateSecretVersionStageInput struct {
	SecretID            string `json:"SecretId"`
	VersionStage        string
	MoveToVersionID     string `json:"MoveToVersionId"`
	RemoveFromVersionID string `json:"RemoveFromVersionId"`
}

type secretOutput struct {
	ARN          string
	Name         string
	DeletionDate *epoch `json:",omitempty"`
}

func (s *secretsManager) updateSecretVersionStage(input updateSecretVersionStageInput) (secretOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, err := s.findLive(input.SecretID)
	if err != nil {
		return secretOutput{}, err
	}
	var to *secretVersion
	if input.MoveToVersionID != "" {
		if to, err = found.pick(input.MoveToVersionID, ""); err != nil {
			return secretOutput{}, err
		}
	}
	holder := found.staged(input.VersionStage)
	switch {
	case input.VersionStage == current && to == nil:
		return secretOutput{}, refuse("InvalidParameterException", "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.")
	case holder != nil && holder != to && holder.id != input.RemoveFromVersionID:
		return secretOutput{}, refuse("InvalidParameterException", "The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", input.VersionStage, holder.id)
	}
	found.move(input.VersionStage, to)
	found.changed = s.now()
	return secretOutput{ARN: found.arn, Name: found.name}, nil
}

type deleteSecretInput struct {
	SecretID                   string `json:"SecretId"`
	RecoveryWindowInDays       *int
	ForceDeleteWithoutRecovery bool
}

const day = 24 * time.Hour

func (s *secretsManager) deleteSecret(input deleteSecretInput) (secretOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	days := 30
	if input.RecoveryWindowInDays != nil {
		days = *input.RecoveryWindowInDays
	}
	switch {
	case input.ForceDeleteWithoutRecovery && input.RecoveryWindowInDays != nil:
		return secretOutput{}, refuse("InvalidParameterException", "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case days < 7 || days > 30:
		return secretOutput{}, refuse("InvalidParameterException", "RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	}
	found, err := s.find(input.SecretID)
	if input.ForceDeleteWithoutRecovery {
		return s.forceDelete(found, input.SecretID), nil
	}
	if err != nil {
		return secretOutput{}, err
	}
	if !found.deletedAt.IsZero() {
		return secretOutput{}, refuse("InvalidRequestException", "You can't perform this operation on the secret because it was already scheduled for deletion.")
	}
	found.deletedAt = s.now()
	found.deleteAt = found.deletedAt.Add(time.Duration(days) * day)
	return secretOutput{ARN: found.arn, Name: found.name, DeletionDate: epochOrNil(found.deleteAt)}, nil
}

// forceDelete also succeeds for a secret that does not exist, as in Secrets Manager,
// so that a request can be repeated.
func (s *secretsManager) forceDelete(found *secret, id string) secretOutput {
	output := secretOutput{Name: id, DeletionDate: epochOrNil(s.now())}
	if found != nil {
		delete(s.secrets, found.name)
		output.ARN, output.Name = found.arn, found.name
	}
	return output
}

func (s *secretsManager) restoreSecret(input secretIDInput) (secretOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, err := s.find(input.SecretID)
	if err != nil {
		return secretOutput{}, err
	}
	found.deletedAt, found.deleteAt = time.Time{}, time.Time{}
	return secretOutput{ARN: found.arn, Name: found.name}, nil
}
