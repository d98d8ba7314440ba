// A key that wraps the key of accounts in a data folder or a shared database, and who may use it:
// --vault-key-wrapped-by. Deployed by itself, to the resource group of an existing Key Vault that
// has RBAC and purge protection; accounts that are in Key Vault need none of it.
@description('The existing Key Vault.')
param vaultName string

@description('The key.')
param keyName string = 'countersign-vault-key'

@description('Object ids of the identities of front doors, workers and people who run commands on the host.')
param principals array

resource vault 'Microsoft.KeyVault/vaults@2026-02-01' existing = {
  name: vaultName
}

resource key 'Microsoft.KeyVault/vaults/keys@2026-02-01' = {
  parent: vault
  name: keyName
  properties: {
    kty: 'RSA'
    keySize: 3072
    // It can do nothing else, and is never exported.
    keyOps: ['wrapKey', 'unwrapKey']
    attributes: { enabled: true, exportable: false }
  }
}

// Key Vault Crypto Service Encryption User: wrap, unwrap, and read what is public about the key.
var wraps = 'e147488a-f6f5-4113-8e2d-b22465e65bf6'

resource roles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for principal in principals: {
    scope: key
    name: guid(key.id, principal, wraps)
    properties: {
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', wraps)
      principalId: principal
      principalType: 'ServicePrincipal'
    }
  }
]

output wrappedBy string = '${vault.properties.vaultUri}keys/${key.name}'
