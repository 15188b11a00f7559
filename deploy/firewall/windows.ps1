# The same on Windows, in a PowerShell of an administrator: .\windows.ps1 -Lan 192.168.1.0/24
# -Remove takes the rules away again. Windows lets nothing in that no rule names, as long as the profile is on.
param(
    [Parameter(Mandatory = $true)] [string] $Lan,
    [switch] $Remove
)
$ErrorActionPreference = 'Stop'
$name = 'Schwabot dashboard'
Get-NetFirewallRule -DisplayName $name -ErrorAction SilentlyContinue | Remove-NetFirewallRule
if (-not $Remove) {
    Set-NetFirewallProfile -Profile Domain, Private, Public -Enabled True -DefaultInboundAction Block
    New-NetFirewallRule -DisplayName $name -Direction Inbound -Action Allow -Protocol TCP -LocalPort 8080, 8443 `
        -RemoteAddress $Lan -Profile Domain, Private | Out-Null
}
