// Azure for Countersign: a Key Vault for accounts and one for keys, the Durable Task Scheduler and a
// PostgreSQL database, all on private addresses, an identity for each part, and a Kubernetes cluster
// with a registry for deploy/helm/countersign to run in.
targetScope = 'resourceGroup'

@description('Where everything is.')
param location string = resourceGroup().location

@description('What names begin with: 3 to 8 lower-case letters and digits.')
@minLength(3)
@maxLength(8)
param name string = 'totp'

@description('Networks of operators, such as 203.0.113.7/32: the only ones that may reach the cluster\'s API.')
@minLength(1)
param operatorAddresses string[]

@description('Whether operators reach the scheduler from their networks too, as its dashboard in the portal needs. Otherwise it has a private address only, in the cluster\'s network.')
param operatorsReachScheduler bool = false

@description('Consumption or Dedicated.')
@allowed(['Consumption', 'Dedicated'])
param schedulerSku string = 'Consumption'

@description('The size of the cluster\'s nodes.')
param nodeSize string = 'Standard_D2s_v5'

@description('The size of the database server. A size that begins with Standard_B is cheaper and has no standby.')
param databaseSize string = 'Standard_D2ds_v5'

@description('Whether a standby of the database in another zone takes over when its server is lost.')
param databaseStandby bool = true

@description('Whether not even the worker may destroy an account before 90 days are over. Requests to delete one permanently then end as Failed: the account stays disabled, and Key Vault destroys it later automatically.')
param purgeProtection bool = false

var suffix = uniqueString(resourceGroup().id)
var hub = 'default'

resource logs 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: '${name}-logs-${suffix}'
  location: location
  properties: { sku: { name: 'PerGB2018' }, retentionInDays: 30 }
}

// One identity for each part, so that each may do only what it has to.
// Their names are unique in the tenant: the database looks its users up by them.
resource frontDoorIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-front-door-${suffix}'
  location: location
}

resource workerIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-worker-${suffix}'
  location: location
}

// Owns the tables of the database; front door and worker only use them.
resource migrationIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-migration-${suffix}'
  location: location
}

module network 'network.bicep' = {
  name: 'network'
  params: { location: location, name: name }
}

module accounts 'vault.bicep' = {
  name: 'accounts'
  params: {
    location: location
    name: take('${name}-a-${suffix}', 24)
    logsId: logs.id
    subnetId: network.outputs.endpointsId
    zoneId: network.outputs.vaultZoneId
    purgeProtection: purgeProtection
  }
}

module keys 'vault.bicep' = {
  name: 'keys'
  params: {
    location: location
    name: take('${name}-k-${suffix}', 24)
    logsId: logs.id
    subnetId: network.outputs.endpointsId
    zoneId: network.outputs.vaultZoneId
    // Without its keys an installation is lost.
    purgeProtection: true
  }
}

module roles 'roles.bicep' = {
  name: 'roles'
  params: {
    name: name
    accountsVault: accounts.outputs.name
    keysVault: keys.outputs.name
    frontDoorPrincipal: frontDoorIdentity.properties.principalId
    workerPrincipal: workerIdentity.properties.principalId
  }
}

module scheduler 'scheduler.bicep' = {
  name: 'scheduler'
  params: {
    location: location
    name: '${name}-dts-${suffix}'
    hub: hub
    sku: schedulerSku
    subnetId: network.outputs.endpointsId
    zoneId: network.outputs.schedulerZoneId
    allowed: operatorsReachScheduler ? operatorAddresses : []
    principals: [
      frontDoorIdentity.properties.principalId
      workerIdentity.properties.principalId
    ]
  }
}

module database 'database.bicep' = {
  name: 'database'
  params: {
    location: location
    name: '${name}-db-${suffix}'
    database: 'countersign'
    logsId: logs.id
    subnetId: network.outputs.endpointsId
    zoneId: network.outputs.databaseZoneId
    size: databaseSize
    standby: databaseStandby && !startsWith(databaseSize, 'Standard_B')
    owner: migrationIdentity.name
    ownerPrincipal: migrationIdentity.properties.principalId
  }
}

module cluster 'cluster.bicep' = {
  name: 'cluster'
  params: {
    location: location
    name: name
    networkName: network.outputs.networkName
    nodesId: network.outputs.nodesId
    nodeSize: nodeSize
    // Its own nodes, which leave by this address, and the operators.
    allowed: concat(['${network.outputs.egressAddress}/32'], operatorAddresses)
  }
}

module registry 'registry.bicep' = {
  name: 'registry'
  params: {
    location: location
    name: '${name}${suffix}'
    kubeletPrincipal: cluster.outputs.kubeletPrincipal
  }
}

// Only the holder of the service account's token has the part's identity.
resource frontDoorIs 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = {
  parent: frontDoorIdentity
  name: 'cluster'
  properties: {
    issuer: cluster.outputs.issuer
    subject: 'system:serviceaccount:countersign:front-door'
    audiences: ['api://AzureADTokenExchange']
  }
}

resource workerIs 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = {
  parent: workerIdentity
  name: 'cluster'
  properties: {
    issuer: cluster.outputs.issuer
    subject: 'system:serviceaccount:countersign:worker'
    audiences: ['api://AzureADTokenExchange']
  }
}

resource migrationIs 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = {
  parent: migrationIdentity
  name: 'cluster'
  properties: {
    issuer: cluster.outputs.issuer
    subject: 'system:serviceaccount:countersign:migration'
    audiences: ['api://AzureADTokenExchange']
  }
}

output registry string = registry.outputs.endpoint
output clusterName string = cluster.outputs.name
output frontDoorClientId string = frontDoorIdentity.properties.clientId
output workerClientId string = workerIdentity.properties.clientId
output migrationClientId string = migrationIdentity.properties.clientId
output frontDoorUser string = frontDoorIdentity.name
output workerUser string = workerIdentity.name
output migrationUser string = migrationIdentity.name
output databaseHost string = database.outputs.host
output databaseName string = database.outputs.name
output accountsVault string = accounts.outputs.url
output keysVault string = keys.outputs.url
output taskHub string = 'Endpoint=${scheduler.outputs.endpoint};TaskHub=${hub};Authentication=WorkloadIdentity'
