// Key Vault with RBAC and purge protection, and two roles that hold no more than each part
// needs. Nobody may purge.
param location string
param name string
param logsId string
param frontDoorPrincipal string
param workerPrincipal string

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: name
  location: location
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
  }
}

resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: logsId
    logs: [{ categoryGroup: 'audit', enabled: true }]
  }
}

// Reads codes' secrets; renames, deletes and recovers accounts. Makes none.
resource frontDoorRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'countersign front door')
  properties: {
    roleName: 'Countersign front door (${name})'
    description: 'Read, rename, delete and recover TOTP accounts'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: []
        notActions: []
        dataActions: [
          'Microsoft.KeyVault/vaults/secrets/getSecret/action'
          'Microsoft.KeyVault/vaults/secrets/readMetadata/action'
          'Microsoft.KeyVault/vaults/secrets/update/action'
          'Microsoft.KeyVault/vaults/secrets/delete'
          'Microsoft.KeyVault/vaults/secrets/recover/action'
        ]
        notDataActions: []
      }
    ]
  }
}

// Makes accounts and the shared keys, and reads the latter.
resource workerRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'countersign worker')
  properties: {
    roleName: 'Countersign worker (${name})'
    description: 'Store TOTP accounts'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: []
        notActions: []
        dataActions: [
          'Microsoft.KeyVault/vaults/secrets/getSecret/action'
          'Microsoft.KeyVault/vaults/secrets/setSecret/action'
          'Microsoft.KeyVault/vaults/secrets/readMetadata/action'
        ]
        notDataActions: []
      }
    ]
  }
}

resource frontDoorMay 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, frontDoorPrincipal, 'front door')
  scope: vault
  properties: {
    principalId: frontDoorPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: frontDoorRole.id
  }
}

resource workerMay 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, workerPrincipal, 'worker')
  scope: vault
  properties: {
    principalId: workerPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: workerRole.id
  }
}

output url string = vault.properties.vaultUri
