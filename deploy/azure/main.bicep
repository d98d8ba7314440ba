// Azure for Countersign: a Key Vault for accounts and one for keys, both on private addresses, the
// Durable Task Scheduler, an identity for each part, and a Kubernetes cluster for
// deploy/kubernetes/countersign.yaml to run in.
targetScope = 'resourceGroup'

@description('Where everything is.')
param location string = resourceGroup().location

@description('What names begin with: 3 to 8 lower-case letters and digits.')
@minLength(3)
@maxLength(8)
param name string = 'totp'

@description('Networks of operators, such as 203.0.113.7/32: who may reach the cluster\'s API and the scheduler (its dashboard) besides the cluster itself. Nobody else may.')
@minLength(1)
param operatorAddresses array

@description('Consumption or Dedicated.')
@allowed(['Consumption', 'Dedicated'])
param schedulerSku string = 'Consumption'

@description('The size of the cluster\'s nodes.')
param nodeSize string = 'Standard_D2s_v5'

@description('Whether not even the worker may destroy an account before 90 days are over. Requests to delete one for good then end as Failed: the account stays out of use, and Key Vault destroys it later by itself.')
param purgeProtection bool = false

var suffix = uniqueString(resourceGroup().id)
var hub = 'default'

resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: '${name}-logs-${suffix}'
  location: location
  properties: { sku: { name: 'PerGB2018' }, retentionInDays: 30 }
}

// One identity for each part, so that each may do only what it has to.
resource frontDoorIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-front-door'
  location: location
}

resource workerIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-worker'
  location: location
}

module network 'network.bicep' = {
  name: 'network'
  params: { location: location, name: name }
}

// The cluster's own address, and the operators'.
var allowed = concat(['${network.outputs.egressAddress}/32'], operatorAddresses)

module accounts 'vault.bicep' = {
  name: 'accounts'
  params: {
    location: location
    name: take('${name}-a-${suffix}', 24)
    logsId: logs.id
    subnetId: network.outputs.endpointsId
    zoneId: network.outputs.zoneId
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
    zoneId: network.outputs.zoneId
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
    allowlist: allowed
    principals: [
      frontDoorIdentity.properties.principalId
      workerIdentity.properties.principalId
    ]
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
    allowed: allowed
  }
}

// Whoever has the token of the service account is the part, and nobody else.
resource frontDoorIs 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2023-01-31' = {
  parent: frontDoorIdentity
  name: 'cluster'
  properties: {
    issuer: cluster.outputs.issuer
    subject: 'system:serviceaccount:countersign:front-door'
    audiences: ['api://AzureADTokenExchange']
  }
}

resource workerIs 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2023-01-31' = {
  parent: workerIdentity
  name: 'cluster'
  properties: {
    issuer: cluster.outputs.issuer
    subject: 'system:serviceaccount:countersign:worker'
    audiences: ['api://AzureADTokenExchange']
  }
}

output clusterName string = cluster.outputs.name
output frontDoorClientId string = frontDoorIdentity.properties.clientId
output workerClientId string = workerIdentity.properties.clientId
output accountsVault string = accounts.outputs.url
output keysVault string = keys.outputs.url
output taskHub string = 'Endpoint=${scheduler.outputs.endpoint};TaskHub=${hub};Authentication=WorkloadIdentity'
