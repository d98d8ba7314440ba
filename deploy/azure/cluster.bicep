// A Kubernetes cluster whose pods get tokens of their own identity, with network policies that are
// enforced and disks for the front doors' folders.
param location string
param name string
param networkName string
param nodesId string
param nodeSize string
@description('Networks from which the cluster\'s API is reached, such as 203.0.113.7/32.')
param allowed string[]

// Network Contributor.
var joins = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '4d97b98b-1d4f-4787-a291-c67834d212e7'
)

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' existing = { name: networkName }

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-cluster'
  location: location
}

resource mayJoin 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(network.id, identity.id, joins)
  scope: network
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: joins
  }
}

resource cluster 'Microsoft.ContainerService/managedClusters@2026-03-01' = {
  name: '${name}-cluster'
  location: location
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identity.id}': {} } }
  dependsOn: [mayJoin]
  properties: {
    dnsPrefix: name
    disableLocalAccounts: true
    aadProfile: { managed: true, enableAzureRBAC: true }
    apiServerAccessProfile: { authorizedIPRanges: allowed }
    agentPoolProfiles: [
      { name: 'nodes', mode: 'System', count: 2, vmSize: nodeSize, vnetSubnetID: nodesId }
    ]
    networkProfile: {
      networkPlugin: 'azure'
      networkPluginMode: 'overlay'
      networkDataplane: 'cilium'
      networkPolicy: 'cilium'
      // The trusted proxies of deploy/kubernetes/countersign.yaml are in it.
      podCidr: '10.244.0.0/16'
      serviceCidr: '10.21.0.0/16'
      dnsServiceIP: '10.21.0.10'
      outboundType: 'userAssignedNATGateway'
    }
    ingressProfile: { webAppRouting: { enabled: true } }
    oidcIssuerProfile: { enabled: true }
    securityProfile: { workloadIdentity: { enabled: true } }
  }
}

output name string = cluster.name
output issuer string = cluster.properties.oidcIssuerProfile.issuerURL
output kubeletPrincipal string = cluster.properties.identityProfile.kubeletidentity.objectId
