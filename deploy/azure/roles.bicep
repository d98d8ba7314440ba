// Who may do what in the two Key Vaults. tests/keys/roles.rs reads the tables of this file, gives
// a fake Key Vault exactly these permissions and runs front door and worker against it.
param name string
param accountsVault string
param keysVault string
param frontDoorPrincipal string
param workerPrincipal string

// On the whole vault with the accounts: a role assignment covers a vault or one secret of a known
// name, and an account's name (totp-…) is not known before it is enrolled. So the front door could
// read every secret of this vault, which is why the keys are in another one.
//
// The front door reads accounts for their codes, renames and files them, and takes them out of use
// and back. It makes none and destroys none.
var frontDoorOnAccounts = [
  'Microsoft.KeyVault/vaults/secrets/getSecret/action'
  'Microsoft.KeyVault/vaults/secrets/readMetadata/action'
  'Microsoft.KeyVault/vaults/secrets/update/action'
  'Microsoft.KeyVault/vaults/secrets/delete'
  'Microsoft.KeyVault/vaults/secrets/recover/action'
]

// The worker stores accounts, reads one to transfer it, and disables, restores or destroys it.
var workerOnAccounts = [
  'Microsoft.KeyVault/vaults/secrets/getSecret/action'
  'Microsoft.KeyVault/vaults/secrets/setSecret/action'
  'Microsoft.KeyVault/vaults/secrets/readMetadata/action'
  'Microsoft.KeyVault/vaults/secrets/delete'
  'Microsoft.KeyVault/vaults/secrets/recover/action'
  'Microsoft.KeyVault/vaults/secrets/purge/action'
]

// On single secrets of the vault with the keys.
var owner = [
  'Microsoft.KeyVault/vaults/secrets/getSecret/action'
  'Microsoft.KeyVault/vaults/secrets/setSecret/action'
  'Microsoft.KeyVault/vaults/secrets/readMetadata/action'
]
var reader = [
  'Microsoft.KeyVault/vaults/secrets/getSecret/action'
  'Microsoft.KeyVault/vaults/secrets/readMetadata/action'
]

// The keys that only this part creates and reads.
var frontDoorOwns = [
  'countersign-installation'
  'countersign-mandate-key'
  'countersign-mandate-keys'
  'countersign-server-key'
]
var workerOwns = [
  'countersign-fingerprint-key'
  'countersign-seal-key'
  'countersign-seal-key-public'
]
// What one part makes for the other to read.
var frontDoorReads = [
  'countersign-fingerprint-key'
  'countersign-seal-key-public'
]
var workerReads = [
  'countersign-mandate-keys'
]

resource accounts 'Microsoft.KeyVault/vaults@2026-02-01' existing = { name: accountsVault }
resource keys 'Microsoft.KeyVault/vaults@2026-02-01' existing = { name: keysVault }

var definitions = [
  { key: 'front door', title: 'front door on accounts', actions: frontDoorOnAccounts }
  { key: 'worker', title: 'worker on accounts', actions: workerOnAccounts }
  { key: 'key owner', title: 'owner of a key', actions: owner }
  { key: 'key reader', title: 'reader of a key', actions: reader }
]

resource roles 'Microsoft.Authorization/roleDefinitions@2022-04-01' = [
  for definition in definitions: {
    name: guid(resourceGroup().id, 'countersign', definition.key)
    properties: {
      roleName: 'Countersign ${definition.title} (${name})'
      description: 'What a part of Countersign needs, and no more'
      type: 'CustomRole'
      assignableScopes: [resourceGroup().id]
      permissions: [
        { actions: [], notActions: [], dataActions: definition.actions, notDataActions: [] }
      ]
    }
  }
]

resource frontDoorMay 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(accounts.id, frontDoorPrincipal, 'accounts')
  scope: accounts
  properties: {
    principalId: frontDoorPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: roles[0].id
  }
}

resource workerMay 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(accounts.id, workerPrincipal, 'accounts')
  scope: accounts
  properties: {
    principalId: workerPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: roles[1].id
  }
}

// The scopes of single secrets, which the parts make at their first start.
resource frontDoorOwned 'Microsoft.KeyVault/vaults/secrets@2026-02-01' existing = [
  for secret in frontDoorOwns: { parent: keys, name: secret }
]
resource workerOwned 'Microsoft.KeyVault/vaults/secrets@2026-02-01' existing = [
  for secret in workerOwns: { parent: keys, name: secret }
]
resource frontDoorRead 'Microsoft.KeyVault/vaults/secrets@2026-02-01' existing = [
  for secret in frontDoorReads: { parent: keys, name: secret }
]
resource workerRead 'Microsoft.KeyVault/vaults/secrets@2026-02-01' existing = [
  for secret in workerReads: { parent: keys, name: secret }
]

resource frontDoorOwnsIt 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (secret, index) in frontDoorOwns: {
    name: guid(keys.id, secret, frontDoorPrincipal, 'owner')
    scope: frontDoorOwned[index]
    properties: {
      principalId: frontDoorPrincipal
      principalType: 'ServicePrincipal'
      roleDefinitionId: roles[2].id
    }
  }
]

resource workerOwnsIt 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (secret, index) in workerOwns: {
    name: guid(keys.id, secret, workerPrincipal, 'owner')
    scope: workerOwned[index]
    properties: {
      principalId: workerPrincipal
      principalType: 'ServicePrincipal'
      roleDefinitionId: roles[2].id
    }
  }
]

resource frontDoorReadsIt 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (secret, index) in frontDoorReads: {
    name: guid(keys.id, secret, frontDoorPrincipal, 'reader')
    scope: frontDoorRead[index]
    properties: {
      principalId: frontDoorPrincipal
      principalType: 'ServicePrincipal'
      roleDefinitionId: roles[3].id
    }
  }
]

resource workerReadsIt 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (secret, index) in workerReads: {
    name: guid(keys.id, secret, workerPrincipal, 'reader')
    scope: workerRead[index]
    properties: {
      principalId: workerPrincipal
      principalType: 'ServicePrincipal'
      roleDefinitionId: roles[3].id
    }
  }
]
